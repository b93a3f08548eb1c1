#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "api/engine/importer.h"

namespace drupe::cli {

/// Shows what becomes of layers as Docker does: a line each, redrawn in place, on a terminal that
/// has the room; otherwise a line for each change of a state, without counts.
class LayerLines {
  public:
    /// columns and rows: of the terminal `out` is; 0 if it is none.
    LayerLines(std::FILE* out, uint16_t rows, uint16_t columns)
        : out_(out), rows_(rows), columns_(columns) {}
    void show(const engine::LayerProgress& layer);

  private:
    struct Line {
        std::string id;
        std::string state;
    };
    [[nodiscard]] size_t line_of(const std::string& id);
    void redraw(size_t line, const std::string& text);

    std::FILE* out_;
    uint16_t rows_;
    uint16_t columns_;
    bool overflowed_ = false;
    std::vector<Line> lines_;
};

/// "Downloading [=====>     ]  1.2MB/3.4MB", at most `columns` wide.
[[nodiscard]] std::string layer_text(const engine::LayerProgress& layer, uint16_t columns);

}  // namespace drupe::cli
