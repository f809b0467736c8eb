// Which instruction sets were built, which this CPU can run, and which one is active.
#pragma once

#include <string>
#include <vector>

#include "../kernels/kernels.hpp"

namespace grufast {

std::vector<std::string> isas_built();      // best first
std::vector<std::string> isas_available();  // best first
std::string active_isa();

// Throws std::invalid_argument, listing the valid names. Weights keep the instruction set that
// was active when their object was made.
void set_isa(const std::string& name);

// Reads GRUFAST_ISA and detects the CPU on first use.
const Kernels& active_kernels();

template <class T>
const KernelTable<T>& active_table();
template <>
inline const KernelTable<float>& active_table<float>() {
    return active_kernels().f32;
}
template <>
inline const KernelTable<double>& active_table<double>() {
    return active_kernels().f64;
}

}  // namespace grufast
