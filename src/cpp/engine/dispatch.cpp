#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace grufast {
namespace {

struct Isa {
    const char* name;
    const Kernels* kernels;
    bool (*available)();
};

// Best first. What `available` asks is what CMakeLists.txt passes as flags for that object;
// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
const Isa kIsas[] = {
#if defined(__x86_64__)
    {"avx512", &avx512::kernels,
     [] {
         return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     }},
    {"avx2", &avx2::kernels,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {"baseline", &baseline::kernels, [] { return true; }},
};

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

const Isa& find(const std::string& name, const char* what) {
    for (const Isa& isa : kIsas) {
        if (name != isa.name) continue;
        if (isa.available()) return isa;
        throw std::invalid_argument(std::string(what) + ": this CPU cannot run '" + name +
                                    "', expected one of: " + joined(isas_available()));
    }
    throw std::invalid_argument(std::string(what) + ": got '" + name +
                                "', expected one of: " + joined(isas_available()));
}

const Isa& initial() {
    const char* forced = std::getenv("GRUFAST_ISA");
    if (forced && *forced) return find(forced, "GRUFAST_ISA");
    for (const Isa& isa : kIsas) {
        if (isa.available()) return isa;
    }
    throw std::runtime_error("no instruction set available");
}

std::atomic<const Isa*>& active() {
    static std::atomic<const Isa*> isa{&initial()};
    return isa;
}

}  // namespace

std::vector<std::string> isas_built() {
    std::vector<std::string> names;
    for (const Isa& isa : kIsas) names.emplace_back(isa.name);
    return names;
}

std::vector<std::string> isas_available() {
    std::vector<std::string> names;
    for (const Isa& isa : kIsas) {
        if (isa.available()) names.emplace_back(isa.name);
    }
    return names;
}

std::string active_isa() { return active().load()->name; }
void set_isa(const std::string& name) { active().store(&find(name, "isa")); }
const Kernels& active_kernels() { return *active().load()->kernels; }

}  // namespace grufast
