// The only place that knows OpenMP.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

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
// second thread costs about a microsecond, so each should have several times that to do. Where
// other programs keep the CPUs busy a partner may be milliseconds late; while that lasts, short
// calls stay on one thread. Results do not depend on the answer.
int threads_for(double operations);
// Whether lateness counts (true at first); tests of many threads on few CPUs say false.
void set_adaptive(bool on);
using Seconds = std::chrono::duration<double>;
void note_waiting(Seconds waited, Seconds total);  // by the thread that called, in one call

struct Range {
    Index begin, end;
    bool empty() const { return begin >= end; }
};

// Where the members of a team wait for each other. On a Zen 4 two threads meet in 45 to 200 ns
// at flags like these, in 240 to 480 ns at GNU OpenMP's barrier; and a member whose partner is
// not running yields its CPU.
constexpr int kMaxTeam = 64;
class Meeting {
  public:
    // All members meet; `round` counts from 1.
    void wait(int index, int size, Index round) {
        arrive(index, round);
        for (int other = 0; other < size; ++other) {
            const Seconds time = wait_for(other, round);
            if (index == 0) waited += time;
        }
    }
    void arrive(int index, Index round) {
        rounds_[index].done.store(round, std::memory_order_release);
    }
    // Returns the time spent beyond spinning.
    Seconds wait_for(int other, Index round) const {
        for (int spins = 0; !reached(other, round); ++spins) {
            if (spins == kSpins) {
                const auto start = std::chrono::steady_clock::now();
                while (!reached(other, round)) std::this_thread::yield();
                return std::chrono::steady_clock::now() - start;
            }
            pause();
        }
        return Seconds(0);
    }
    Seconds waited{0};  // by member 0, beyond spinning

  private:
    static constexpr int kSpins = 2000;  // some 30 us
    bool reached(int member, Index round) const {
        return rounds_[member].done.load(std::memory_order_acquire) >= round;
    }
    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
    struct alignas(128) Round {  // alone on its cache lines
        std::atomic<Index> done{0};
    };
    Round rounds_[kMaxTeam];
};

// A thread's place in its team.
class Team {
  public:
    Team(int index, int size, Meeting* meeting) : index(index), size(size), meeting_(meeting) {}
    const int index, size;

    // This member's contiguous share of n items, cut at multiples of grain.
    Range share(Index n, Index grain = 1) const { return share_of(index, size, n, grain); }
    static Range share_of(int index, int size, Index n, Index grain) {
        const Index grains = (n + grain - 1) / grain;
        const auto cut = [&](Index i) {
            const Index at = grains * i / size * grain;
            return at < n ? at : n;
        };
        return {cut(index), cut(index + 1)};
    }

    // This member in a team of its own, and in one of `groups` equal teams, each with a
    // meeting.
    Team alone() const { return {0, 1, nullptr}; }
    int group(int groups) const { return index * groups / size; }
    Team split(int groups, Meeting* meetings) const {
        const int g = group(groups);
        const auto first = [&](int i) { return (i * size + groups - 1) / groups; };
        return {index - first(g), first(g + 1) - first(g), meetings + g};
    }

    // Returns when every member has called it as often as this one.
    void barrier() {
        if (size > 1) meeting_->wait(index, size, ++round_);
    }

  private:
    Meeting* meeting_;
    Index round_ = 0;
};

void mark_threads_used();

// Runs f(team) on up to `threads` threads. f must not throw.
template <class F>
void parallel(int threads, const F& f) {
#ifdef _OPENMP
    if (threads > 1) {
        mark_threads_used();
        if (threads > kMaxTeam) threads = kMaxTeam;
        Meeting meeting;
        const auto start = std::chrono::steady_clock::now();
        auto done = start;
#pragma omp parallel num_threads(threads)
        {
            Team team(omp_get_thread_num(), omp_get_num_threads(), &meeting);
            f(team);
            if (team.index == 0) done = std::chrono::steady_clock::now();
        }
        const auto end = std::chrono::steady_clock::now();
        note_waiting(meeting.waited + (end - done), end - start);
        return;
    }
#endif
    (void)threads;
    Team alone(0, 1, nullptr);
    f(alone);
}

}  // namespace grufast
