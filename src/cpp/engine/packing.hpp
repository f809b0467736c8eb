// Between the row-major weights of the public face and the kernels' layouts.
#pragma once

#include "threads.hpp"

namespace grufast {

// Which row blocks of a weight matrix, in which order: block[first] to block[first + count -
// 1].
struct Slots {
    const int* block;
    int first, count;
};

// weight [blocks * units][k] -> panels [panel][k][slot][lane]; padding is zero.
template <class T>
void pack_panels(const T* weight, Index units, Index k, Slots slots, Index lanes, T* panels) {
    for (Index u = 0; u < (units + lanes - 1) / lanes * lanes; ++u) {
        for (int s = 0; s < slots.count; ++s) {
            T* to = panels + (u / lanes * k * slots.count + s) * lanes + u % lanes;
            const T* from = weight + (slots.block[slots.first + s] * units + u) * k;
            for (Index i = 0; i < k; ++i) {
                to[i * slots.count * lanes] = u < units ? from[i] : T(0);
            }
        }
    }
}

// The inverse, for the units of some panels.
template <class T>
void unpack_panels(const T* panels, Index units, Index k, Slots slots, Index lanes, Range range,
                   T* weight) {
    for (Index u = range.begin * lanes; u < range.end * lanes && u < units; ++u) {
        for (int s = 0; s < slots.count; ++s) {
            const T* from = panels + (u / lanes * k * slots.count + s) * lanes + u % lanes;
            T* to = weight + (slots.block[slots.first + s] * units + u) * k;
            for (Index i = 0; i < k; ++i) to[i] = from[i * slots.count * lanes];
        }
    }
}

// weight [blocks * units][columns] -> strips of columns, each [k][width][lane], where k runs
// over the units and slots in the order in which the gate buffer holds them: panel, slot, lane.
template <class T>
void pack_strips(const T* weight, Index units, Index columns, Slots slots, Index lanes,
                 T* strips) {
    const Index vectors = (columns + lanes - 1) / lanes;
    for (Index v = 0; v < vectors;) {
        const Index width = strip_width(vectors - v) * lanes, first = v * lanes;
        for (Index panel = 0; panel * lanes < units; ++panel) {
            for (int s = 0; s < slots.count; ++s) {
                for (Index u = panel * lanes; u < (panel + 1) * lanes && u < units; ++u) {
                    const T* from =
                        weight + (slots.block[slots.first + s] * units + u) * columns;
                    for (Index i = first; i < first + width; ++i) {
                        *strips++ = i < columns ? from[i] : T(0);
                    }
                }
            }
        }
        v += width / lanes;
    }
}

}  // namespace grufast
