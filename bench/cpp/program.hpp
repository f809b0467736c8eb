// What the benchmark programs share: arrays, registering what checks itself, main.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "engine/memory.hpp"

namespace grufast {

// Placed as the engine places its buffers.
template <class T>
class Array {
  public:
    explicit Array(Index size) : size_(size) {
        std::fill_n(reserve<T>(buffer_, size), size, T(0));
    }
    // Random numbers in [-limit, limit], the same ones whenever the same benchmarks run.
    Array(Index size, double limit) : Array(size) {
        static std::mt19937_64 bits;
        std::uniform_real_distribution<double> uniform(-limit, limit);
        for (T& x : *this) x = static_cast<T>(uniform(bits));
    }
    T* begin() const { return data<T>(buffer_); }
    T* end() const { return begin() + size_; }
    T& operator[](Index i) const { return begin()[i]; }
    Index size() const { return size_; }

  private:
    Buffer buffer_;
    Index size_;
};

using Exact = std::vector<double>;
template <class T>
Exact exactly(const Array<T>& a) {
    return Exact(a.begin(), a.end());
}

// Empty, or what is wrong with `actual`. Rounding errors of random sign grow with the square
// root of the longest sum behind an entry; `units` of epsilon, relative to the largest entry,
// are a few times what right kernels reach. A term left out or counted twice is off by
// hundreds of them.
template <class T>
std::string difference(const std::string& name, const T* actual, const double* exact, Index n,
                       double units, Index longest_sum) {
    double largest = 0;
    for (Index i = 0; i < n; ++i) largest = std::max(largest, std::abs(exact[i]));
    const double allowed = units * static_cast<double>(std::numeric_limits<T>::epsilon()) *
                           std::sqrt(static_cast<double>(longest_sum)) * largest;
    for (Index i = 0; i < n; ++i) {
        const double value = static_cast<double>(actual[i]);
        if (std::abs(value - exact[i]) <= allowed) continue;  // not so for NaN
        std::ostringstream text;
        text << std::setprecision(std::numeric_limits<T>::max_digits10);
        text << name << "[" << i << "] is " << value << ", not " << exact[i];
        return text.str();
    }
    return "";
}

inline bool found_wrong_results = false;

// Registers a benchmark of Case(args...), which has check(), run() and count(state). It is made
// when the benchmark runs and checked before its first run, so that a filter saves both.
template <class Case, class... Args>
benchmark::internal::Benchmark* add(const std::string& name, Args... args) {
    std::optional<std::string> wrong;
    const auto body = [=](benchmark::State& state) mutable {
        Case c(args...);
        if (!wrong) wrong = c.check();
        if (!wrong->empty()) {
            found_wrong_results = true;
            state.SkipWithError(("wrong result: " + *wrong).c_str());
            return;
        }
        for (auto _ : state) c.run();
        c.count(state);
    };
    return benchmark::RegisterBenchmark(name.c_str(), body);
}

// A counter of so many per iteration, shown per second. Threads' counts are summed; the flag
// kIsIterationInvariantRate would multiply that sum by the iterations of all threads.
inline benchmark::Counter rate(const benchmark::State& state, double per_iteration,
                               benchmark::Counter::OneK one_k = benchmark::Counter::kIs1000) {
    return benchmark::Counter(per_iteration * static_cast<double>(state.iterations()),
                              benchmark::Counter::kIsRate, one_k);
}

// The rest of main().
inline int run_benchmarks(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return found_wrong_results ? 1 : 0;
}

}  // namespace grufast
