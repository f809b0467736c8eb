// Zoneout's random units, and what the steps of cells with a separate formula do with them.
#pragma once

#include "simd.hpp"

namespace grufast {
namespace {

// A bijection of 32 bits that mixes well: xor-shifts and multiplications (the constants are
// those of C. Wellons' "lowbias32").
static constexpr unsigned mixed(unsigned x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

// 1 where a unit keeps its old state, else 0; or the rate.
template <class T>
GRUFAST_INLINE Vec<T> zone_of(const Zone<T>& zone, int state, Index step, Index row,
                              Index first_unit) {
    constexpr int lanes = static_cast<int>(kLanes<T>);
    if (!zone.random) return splat<T>(zone.rate[state]);
    if (zone.rows) row = zone.rows[row];
    unsigned key = mixed(zone.seed + static_cast<unsigned>(state));
    key = mixed(key ^ static_cast<unsigned>(step));
    key = mixed(key ^ static_cast<unsigned>(row));
    const T scale = static_cast<T>(1.0 / 4294967296.0);
    T keep[lanes];
    for (int i = 0; i < lanes; ++i) {
        const unsigned draw = mixed(key ^ static_cast<unsigned>(first_unit + i));
        keep[i] = static_cast<T>(draw) * scale < zone.rate[state] ? T(1) : T(0);
    }
    return load<T>(keep);
}

}  // namespace
}  // namespace grufast
