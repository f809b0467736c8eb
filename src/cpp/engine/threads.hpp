// The only place that knows OpenMP.
#pragma once

#include "../kernels/kernels.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace grufast {

// How many threads a call may use: GRUFAST_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs
// this process may run on; 1 in a forked child, because GNU OpenMP's threads do not survive a
// fork.
int num_threads();
// Throws std::invalid_argument unless 1 <= n <= kMaxThreads.
constexpr int kMaxThreads = 1024;
void set_num_threads(int n);

// How many of them pay for a call of so many floating-point operations: starting and joining a
// second thread costs about a microsecond, so each should have several times that to do.
int threads_for(double operations);

struct Range {
    Index begin, end;
    bool empty() const { return begin >= end; }
};

// A thread's place in its team.
struct Team {
    int index, size;
    // This member's contiguous share of n items, cut at multiples of grain.
    Range share(Index n, Index grain = 1) const {
        const Index grains = (n + grain - 1) / grain;
        const auto cut = [&](Index i) {
            const Index at = grains * i / size * grain;
            return at < n ? at : n;
        };
        return {cut(index), cut(index + 1)};
    }
    void barrier() const {
#ifdef _OPENMP
        if (size > 1) {
#pragma omp barrier
        }
#endif
    }
};

void mark_threads_used();

// Runs f(team) on up to `threads` threads. f must not throw.
template <class F>
void parallel(int threads, const F& f) {
#ifdef _OPENMP
    if (threads > 1) {
        mark_threads_used();
#pragma omp parallel num_threads(threads)
        f(Team{omp_get_thread_num(), omp_get_num_threads()});
        return;
    }
#endif
    (void)threads;
    f(Team{0, 1});
}

}  // namespace grufast
