#include "selection.hpp"

#include <algorithm>
#include <numeric>

namespace grufast {

Selection::Selection(Index batch, Index times, const bool* valid, const Index* lengths,
                     const bool* reset)
    : times_(times) {
    const auto rows = static_cast<std::size_t>(batch), steps = static_cast<std::size_t>(times);
    std::vector<Index> given(rows, times);
    bool from_start = true;
    if (valid) {
        time_.assign(rows * steps, 0);
        for (std::size_t b = 0; b < rows; ++b) {
            Index count = 0;
            for (std::size_t t = 0; t < steps; ++t) {
                if (!valid[b * steps + t]) continue;
                from_start = from_start && count == static_cast<Index>(t);
                time_[b * steps + static_cast<std::size_t>(count++)] = static_cast<Index>(t);
            }
            given[b] = count;
        }
        if (from_start) time_.clear();
    } else if (lengths) {
        given.assign(lengths, lengths + batch);
    }
    row_.resize(rows);
    std::iota(row_.begin(), row_.end(), Index{0});
    const auto longer = [&](Index a, Index b) {
        return given[static_cast<std::size_t>(a)] > given[static_cast<std::size_t>(b)];
    };
    std::stable_sort(row_.begin(), row_.end(), longer);
    for (const Index b : row_) length_.push_back(given[static_cast<std::size_t>(b)]);
    const Index longest = rows == 0 ? times : length_.front();
    whole_ = rows == 0 || length_.back() == times;
    active_.assign(static_cast<std::size_t>(longest), 0);
    for (const Index length : length_) {
        if (length > 0) ++active_[static_cast<std::size_t>(length - 1)];
    }
    for (std::size_t t = active_.size(); t-- > 1;) active_[t - 1] += active_[t];
    if (reset) reset_.assign(reset, reset + rows * steps);
    everything_ = whole_ && !reset;
}

}  // namespace grufast
