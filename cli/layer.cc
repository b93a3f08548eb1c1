// drupe layer: what a layer's file says of itself.

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "api/engine/images.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/local_engine.h"
#include "cli/text.h"
#include "imagefs/store/layer_file.h"

namespace drupe::cli {
namespace {

using imagefs::Digest;
using imagefs::LayerInfo;
using imagefs::LayerRecord;

/// The head of an image's chain, or a layer by its chain ID.
Result<Digest> find_chain(engine::Images& images, const std::string& name) {
    if (const auto id = Digest::parse(name); id) {
        TRY_ASSIGN(const bool known, images.store().has_layer(id.value()));
        if (known) return id.value();
    }
    TRY_ASSIGN(const auto image, images.resolve(name));
    return Digest::parse(image.chain);
}

Result<nlohmann::json> describe(imagefs::Store& store, const LayerRecord& record) {
    TRY_ASSIGN(const imagefs::LayerFile file, store.open_layer_file(record.chain_id));
    const LayerInfo& info = file.info();
    uint64_t zero_blocks = 0;
    for (const imagefs::LayerExtent& extent : file.extents()) {
        if (extent.kind == imagefs::ExtentKind::kZero) zero_blocks += extent.blocks;
    }
    std::string uuid;
    for (const uint8_t byte : info.uuid) uuid += fmt::format("{:02x}", byte);
    const bool sparse = info.form == imagefs::LayerForm::kSparse;
    return nlohmann::json{{"ChainId", record.chain_id.to_string()},
                          {"Parent", record.parent ? record.parent->to_string() : ""},
                          {"DiffId", record.diff_id.is_null() ? "" : record.diff_id.to_string()},
                          {"Form", sparse ? "sparse" : "packed"},
                          {"Uuid", uuid},
                          {"MerkleRoot", sparse ? "" : info.merkle_root.hex()},
                          {"IndexCrc32c", fmt::format("{:08x}", info.index_crc)},
                          {"SumsCrc32c", fmt::format("{:08x}", info.sums_crc)},
                          {"VirtualBytes", info.identity.virtual_blocks * 4096},
                          {"DataBlocks", info.data_blocks},
                          {"ZeroBlocks", zero_blocks},
                          {"Extents", info.extent_count},
                          {"StoredBytes", info.stored_bytes()},
                          {"NeedsReplay", record.needs_replay}};
}

int inspect_layer_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("layer inspect", "CHAINID|IMAGE [...]",
              "Print what a layer's file says: a JSON array, an image's layers bottom first.");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe layer inspect debian:12", "its layers, their sizes and sums");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    engine::Images& images = *local.value()->images;
    const auto all = [&]() -> Result<nlohmann::json> {
        nlohmann::json items = nlohmann::json::array();
        for (const std::string& name : names) {
            TRY_ASSIGN(const Digest chain_id, find_chain(images, name));
            TRY_ASSIGN(const auto chain, images.store().chain(chain_id));
            // An image is all of its chain, a chain ID its head.
            const bool one =
                Digest::parse(name).has_value() && Digest::parse(name).value() == chain_id;
            for (size_t i = one ? chain.size() - 1 : 0; i < chain.size(); ++i) {
                TRY_ASSIGN(nlohmann::json item, describe(images.store(), chain[i]));
                items.push_back(std::move(item));
            }
        }
        return items;
    }();
    if (!all) return fail(all.error());
    return print(all.value().dump(4) + "\n");
}

constexpr std::array kSubcommands{
    CommandInfo{"inspect", "Print what a layer's file says of itself", inspect_layer_command},
};

}  // namespace

int layer_command(int argc, char** argv) {
    return run_subcommand("layer", "Look into the layers that images are made of.", kSubcommands,
                          argc, argv);
}

}  // namespace drupe::cli
