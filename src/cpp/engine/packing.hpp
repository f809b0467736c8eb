// Between the row-major weights of the public face and the kernels' layouts. Each function does
// a range of panels or vectors, so that threads can share the work.
#pragma once

#include <algorithm>

#include "threads.hpp"

namespace grufast {

// Which row blocks of a weight matrix, in which order: block[first] to block[first + count -
// 1].
struct Slots {
    const int* block;
    int first, count;
};

// A member's share of vectors, cut where strips are: an odd last strip stays whole.
inline Range strip_share(int index, int size, Index vectors) {
    Range range = Team::share_of(index, size, vectors, kStripGrain);
    for (Index* cut : {&range.begin, &range.end}) {
        if (*cut > 0 && *cut > vectors - odd_strip(vectors)) *cut = vectors;
    }
    return range;
}

// weight [blocks * units][k] -> panels [panel][k][slot][lane]; padding is zero.
template <class T>
void pack_panels(const KernelTable<T>& table, const T* weight, Index units, Index k,
                 Slots slots, Range range, T* panels) {
    const Index lanes = table.lanes, row = slots.count * lanes;
    for (Index panel = range.begin; panel < range.end; ++panel) {
        const Index unit = panel * lanes, count = std::min(lanes, units - unit);
        for (int s = 0; s < slots.count; ++s) {
            const T* from = weight + (slots.block[slots.first + s] * units + unit) * k;
            table.transpose(
                {from, k, count, k, panels + panel * k * row + s * lanes, row, true});
        }
    }
}

// The inverse.
template <class T>
void unpack_panels(const KernelTable<T>& table, const T* panels, Index units, Index k,
                   Slots slots, Range range, T* weight) {
    const Index lanes = table.lanes, row = slots.count * lanes;
    for (Index panel = range.begin; panel < range.end; ++panel) {
        const Index unit = panel * lanes, count = std::min(lanes, units - unit);
        for (int s = 0; s < slots.count; ++s) {
            T* to = weight + (slots.block[slots.first + s] * units + unit) * k;
            table.transpose(
                {panels + panel * k * row + s * lanes, row, k, count, to, k, false});
        }
    }
}

// weight [blocks * units][columns] -> strips of columns, each [k][width][lane], where k runs
// over the units and slots in the order in which the gate buffer holds them: panel, slot, lane.
// The range is of vectors of columns, cut where strips are.
template <class T>
void pack_strips(const KernelTable<T>& table, const T* weight, Index units, Index columns,
                 Slots slots, Range range, T* strips) {
    const Index lanes = table.lanes, vectors = (columns + lanes - 1) / lanes;
    T* to = strips + range.begin * lanes * units * slots.count;
    for (Index v = range.begin; v < range.end;) {
        const Index width = strip_width(vectors - v) * lanes, first = v * lanes;
        const Index count = std::min(width, columns - first);
        for (Index panel = 0; panel * lanes < units; ++panel) {
            for (int s = 0; s < slots.count; ++s) {
                const Index block = slots.block[slots.first + s] * units;
                const Index end = std::min((panel + 1) * lanes, units);
                for (Index u = panel * lanes; u < end; ++u, to += width) {
                    std::copy_n(weight + (block + u) * columns + first, count, to);
                    std::fill_n(to + count, width - count, T(0));
                }
            }
        }
        v += width / lanes;
    }
}

}  // namespace grufast
