#include "cli/layer_progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr size_t kBarWidth = 50;
constexpr size_t kMaxLines = 1024;  // what the helper says is bounded, whatever it says

std::string bar(uint64_t bytes, uint64_t total) {
    const auto part = static_cast<double>(std::min(bytes, total)) / static_cast<double>(total);
    const auto filled = static_cast<size_t>(part * kBarWidth);
    std::string text(filled, '=');
    if (filled < kBarWidth) text += '>';
    text.resize(kBarWidth, ' ');
    return "[" + text + "]";
}

}  // namespace

std::string layer_text(const engine::LayerProgress& layer, uint16_t columns) {
    std::string text = layer.id + ": " + layer.state;
    if (layer.total_bytes > 0) {
        const std::string count =
            fmt::format("{:>8}/{}", human_size(layer.bytes), human_size(layer.total_bytes));
        const std::string long_text = text + " " + bar(layer.bytes, layer.total_bytes) + count;
        text = long_text.size() <= columns ? long_text : text + " " + count;
    }
    return text.substr(0, columns);
}

size_t LayerLines::line_of(const std::string& id) {
    const auto found =
        std::find_if(lines_.begin(), lines_.end(), [&](const Line& line) { return line.id == id; });
    if (found != lines_.end()) return static_cast<size_t>(found - lines_.begin());
    if (lines_.size() == kMaxLines) return kMaxLines;
    lines_.push_back({id, ""});
    if (!overflowed_ && columns_ > 0) std::fputs("\n", out_);
    return lines_.size() - 1;
}

void LayerLines::redraw(size_t line, const std::string& text) {
    const size_t up = lines_.size() - line;
    fmt::print(out_, "\x1b[{}A\r\x1b[2K{}\x1b[{}B\r", up, text, up);
}

void LayerLines::show(const engine::LayerProgress& layer) {
    const size_t number = line_of(layer.id);
    if (number == kMaxLines) return;
    Line& line = lines_[number];
    // A cursor can't go up to what has scrolled away.
    overflowed_ = overflowed_ || lines_.size() + 1 >= rows_;
    if (columns_ > 0 && !overflowed_) {
        redraw(number, layer_text(layer, columns_));
    } else if (layer.total_bytes == 0 && line.state != layer.state) {
        fmt::print(out_, "{}: {}\n", layer.id, layer.state);
    }
    line.state = layer.state;
    std::fflush(out_);
}

}  // namespace drupe::cli
