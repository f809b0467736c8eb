// Which steps of which rows a call runs, where these are not simply all.
#pragma once

#include <vector>

#include "../kernels/kernels.hpp"

namespace grufast {

// Rows are taken in an order of their own, those with most steps first, so that the rows that
// still run are always the first ones. Steps that a row leaves out cost nothing.
class Selection {
  public:
    // All steps of all rows; then nothing but steps() and times() may be asked.
    Selection() = default;
    explicit Selection(Index times) : times_(times) {}
    // valid: [batch][times]; null: the first lengths[b] steps of row b; null too: all.
    // reset: [batch][times], whether the state is the first one again before a step; or null.
    Selection(Index batch, Index times, const bool* valid, const Index* lengths,
              const bool* reset);

    bool everything() const { return everything_; }  // and no resets
    bool whole() const { return whole_; }            // all steps, in the caller's order
    bool has_resets() const { return !reset_.empty(); }
    Index steps() const {  // of the longest row
        return row_.empty() ? times_ : static_cast<Index>(active_.size());
    }
    Index times() const { return times_; }                  // the caller's steps
    Index row(Index b) const { return at(row_, b); }        // the caller's row
    const Index* rows() const { return row_.data(); }       // of all b
    Index length(Index b) const { return at(length_, b); }  // its steps
    Index active(Index t) const { return at(active_, t); }  // rows that have a step t
    const Index* active() const { return active_.data(); }  // of all t

    // The caller's time of step t, the sequence running forwards or backwards.
    Index time(Index b, Index t, bool backwards) const {
        const Index step = backwards ? length(b) - 1 - t : t;
        return time_.empty() ? step : at(time_, row(b) * times_ + step);
    }
    bool resets(Index b, Index t, bool backwards) const {
        return has_resets() && at(reset_, row(b) * times_ + time(b, t, backwards)) != 0;
    }

  private:
    template <class V>
    static typename V::value_type at(const V& v, Index i) {
        return v[static_cast<std::size_t>(i)];
    }

    bool everything_ = true, whole_ = true;
    Index times_ = 0;
    std::vector<Index> row_, length_, active_;
    std::vector<Index> time_;  // [caller's row][times]; empty: the same as the step
    std::vector<unsigned char> reset_;
};

}  // namespace grufast
