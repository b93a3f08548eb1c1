// drupe system: what the store occupies, what can go, whether it is sound.

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "api/engine/clock.h"
#include "api/engine/status_text.h"
#include "api/engine/storage.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/container_list.h"
#include "cli/local_engine.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

using engine::ContainerUsage;
using engine::ImageUsage;
using engine::StorageReport;

constexpr int kLowestPriority = 19;

std::string reclaimable(uint64_t bytes, uint64_t of) {
    if (of == 0) return human_size(bytes);
    return fmt::format("{} ({}%)", human_size(bytes), bytes * 100 / of);
}

/// Docker's table, and a line for what Docker doesn't count.
std::string summary_text(const StorageReport& report) {
    uint64_t containers_bytes = 0;
    uint64_t stopped_bytes = 0;
    size_t running = 0;
    for (const ContainerUsage& usage : report.containers) {
        containers_bytes += usage.total_bytes();
        if (engine::has_machine(usage.container.state)) ++running;
        if (!engine::has_machine(usage.container.state)) stopped_bytes += usage.total_bytes();
    }
    const auto used = std::count_if(report.images.begin(), report.images.end(),
                                    [](const ImageUsage& i) { return i.containers > 0; });
    const imagefs::DiskUsage& disk = report.disk;
    const uint64_t image_bytes = disk.layer_bytes + disk.blob_bytes;
    const uint64_t rest =
        disk.total_bytes - std::min(disk.total_bytes, image_bytes + containers_bytes);
    Table table({"TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"});
    table.row({"Images", std::to_string(report.images.size()), std::to_string(used),
               human_size(image_bytes), reclaimable(report.reclaimable_layer_bytes, image_bytes)});
    table.row({"Containers", std::to_string(report.containers.size()), std::to_string(running),
               human_size(containers_bytes), reclaimable(stopped_bytes, containers_bytes)});
    table.row({"Local Volumes", "0", "0", "0B", "0B"});
    table.row({"Build Cache", "0", "0", "0B", "0B"});
    table.row({"Metadata", "-", "-", human_size(rest), human_size(disk.quarantine_bytes)});
    return table.text();
}

std::string details_text(const StorageReport& report, uint64_t now_ns) {
    constexpr uint64_t kNano = 1'000'000'000;
    const auto ago = [&](uint64_t then_s) {
        const uint64_t now_s = now_ns / kNano;
        return engine::human_duration(now_s > then_s ? now_s - then_s : 0) + " ago";
    };
    std::string text = "Images space usage:\n\n";
    Table images(
        {"REFERENCES", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"});
    for (const ImageUsage& usage : report.images) {
        const auto& references = usage.image.references;
        images.row({references.empty() ? "<none>" : fmt::format("{}", fmt::join(references, ",")),
                    usage.image.id.substr(7, 12),
                    ago(static_cast<uint64_t>(std::max<int64_t>(usage.image.created_s, 0))),
                    human_size(usage.shared_bytes + usage.unique_bytes),
                    human_size(usage.shared_bytes), human_size(usage.unique_bytes),
                    std::to_string(usage.containers)});
    }
    text += images.text() + "\nContainers space usage:\n\n";
    Table containers(
        {"CONTAINER ID", "IMAGE", "SIZE", "DISK", "LOG", "OTHER", "CREATED", "STATUS", "NAMES"});
    for (const ContainerUsage& usage : report.containers) {
        const engine::Container& c = usage.container;
        containers.row({engine::short_id(c.id), c.config.image, human_size(usage.total_bytes()),
                        human_size(usage.disk_bytes), human_size(usage.log_bytes),
                        human_size(usage.other_bytes), ago(c.created_at_ns / kNano),
                        status_text(c, now_ns), c.name});
    }
    const imagefs::DiskUsage& disk = report.disk;
    Table metadata({"WHAT", "SIZE"});
    metadata.row({"layers", human_size(disk.layer_bytes)});
    metadata.row({"merged indexes", human_size(disk.index_bytes)});
    metadata.row({"blobs", human_size(disk.blob_bytes)});
    metadata.row({"container disks", human_size(disk.top_bytes)});
    metadata.row({"database", human_size(disk.database_bytes)});
    metadata.row({"quarantine", human_size(disk.quarantine_bytes)});
    metadata.row({"temporary", human_size(disk.tmp_bytes)});
    metadata.row({"container logs and other", human_size(disk.other_bytes)});
    metadata.row({"all", human_size(disk.total_bytes)});
    return text + containers.text() + "\nFolder space usage:\n\n" + metadata.text();
}

nlohmann::json to_json(const StorageReport& report) {
    nlohmann::json images = nlohmann::json::array();
    for (const ImageUsage& usage : report.images) {
        images.push_back({{"id", usage.image.id},
                          {"references", usage.image.references},
                          {"shared_bytes", usage.shared_bytes},
                          {"unique_bytes", usage.unique_bytes},
                          {"containers", usage.containers}});
    }
    nlohmann::json containers = nlohmann::json::array();
    for (const ContainerUsage& usage : report.containers) {
        containers.push_back({{"id", usage.container.id},
                              {"name", usage.container.name},
                              {"disk_bytes", usage.disk_bytes},
                              {"log_bytes", usage.log_bytes},
                              {"other_bytes", usage.other_bytes}});
    }
    const imagefs::DiskUsage& disk = report.disk;
    return {{"images", images},
            {"containers", containers},
            {"layer_bytes", disk.layer_bytes},
            {"index_bytes", disk.index_bytes},
            {"top_bytes", disk.top_bytes},
            {"blob_bytes", disk.blob_bytes},
            {"database_bytes", disk.database_bytes},
            {"quarantine_bytes", disk.quarantine_bytes},
            {"tmp_bytes", disk.tmp_bytes},
            {"other_bytes", disk.other_bytes},
            {"total_bytes", disk.total_bytes}};
}

int df_command(int argc, char** argv) {
    bool verbose = false;
    bool json = false;
    Args args("system df", "", "Show what Drupe occupies on the host's disk, as du counts it.");
    args.flag("-v,--verbose", verbose, "Each image and container, and the store's folders");
    args.flag("--json", json, "Print a JSON object, in bytes");
    args.example("drupe system df -v", "what costs how much");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto report = engine::storage_report(*local.value()->images, *local.value()->engine);
    if (!report) return fail(report.error());
    if (json) return print(dump_json(to_json(report.value())) + "\n");
    return print(verbose ? details_text(report.value(), engine::realtime_ns())
                         : summary_text(report.value()));
}

std::string warning(bool all) {
    return fmt::format(
        "This will remove:\n  - all stopped containers\n  - {}\n"
        "  - what crashes have left behind\n",
        all ? "all images without at least one container associated to them"
            : "all dangling images");
}

int prune_command(int argc, char** argv) {
    bool all = false;
    bool force = false;
    bool volumes = false;
    Args args("system prune", "",
              "Remove stopped containers, unused images and whatever else nobody needs.");
    args.flag("-a,--all", all, "All images that no container needs, not only those without a name");
    args.flag("-f,--force", force, "Don't ask");
    args.flag("--volumes", volumes, "Has nothing to remove: there are no named volumes");
    args.example("drupe system prune -af", "all that can be made or pulled again");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (!force && !confirmed(warning(all))) return 0;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto pruned = engine::prune_system(*local.value()->images, *local.value()->engine, all);
    if (!pruned) return fail(pruned.error());
    std::string text;
    if (!pruned.value().containers.empty()) {
        text +=
            fmt::format("Deleted Containers:\n{}\n\n", fmt::join(pruned.value().containers, "\n"));
    }
    if (!pruned.value().images.empty()) {
        text += fmt::format("Deleted Images:\n{}\n\n", fmt::join(pruned.value().images, "\n"));
    }
    return print(text + "Total reclaimed space: " + human_size(pruned.value().reclaimed_bytes) +
                 "\n");
}

std::string verify_text(const imagefs::VerifyReport& report) {
    std::string text;
    for (const imagefs::DamagedLayer& layer : report.damaged) {
        text += fmt::format("DAMAGED layer {}: {}\n", layer.chain_id.to_string(), layer.why);
        if (layer.put_aside)
            text += "  its file is in quarantine; pull or load an image to heal it\n";
        for (const std::string& image : layer.images) text += "  image " + image + "\n";
        for (const std::string& top : layer.tops) {
            text += "  container " + engine::short_id(top) + "\n";
        }
    }
    return text + fmt::format("{} layers verified ({}), {} not packed yet, {} damaged\n",
                              report.layers, human_size(report.bytes), report.unpacked,
                              report.damaged.size());
}

std::string verify_json(const imagefs::VerifyReport& report) {
    nlohmann::json damaged = nlohmann::json::array();
    for (const imagefs::DamagedLayer& layer : report.damaged) {
        damaged.push_back({{"layer", layer.chain_id.to_string()},
                           {"why", layer.why},
                           {"images", layer.images},
                           {"containers", layer.tops},
                           {"quarantined", layer.put_aside}});
    }
    return dump_json(nlohmann::json{{"layers", report.layers},
                                    {"bytes", report.bytes},
                                    {"unpacked", report.unpacked},
                                    {"damaged", damaged}}) +
           "\n";
}

int verify_command(int argc, char** argv) {
    bool json = false;
    Args args("system verify", "",
              "Read all image layers and compare them with their checksums. A damaged one is put "
              "aside. The exit code is 1 if there is any.");
    args.flag("--json", json, "Print a JSON object");
    args.example("drupe system verify", "after trouble with the host's disk");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const bool shown = !json && ::isatty(STDERR_FILENO) == 1;
    const auto report =
        local.value()->images->store().verify_all([&](uint64_t done, uint64_t total) {
            if (!shown) return;
            std::fprintf(stderr, "\r%s of %s verified\x1b[K", human_size(done).c_str(),
                         human_size(total).c_str());
        });
    if (shown) std::fputs("\r\x1b[K", stderr);
    if (!report) return fail(report.error());
    const int printed = print(json ? verify_json(report.value()) : verify_text(report.value()));
    return printed != 0 ? printed : (report.value().damaged.empty() ? 0 : kFailure);
}

int maintain_command(int argc, char** argv) {
    bool background = false;
    Args args(
        "system maintain", "",
        "Compact what commits have sealed, with checksums, and join the layers of deep images. "
        "A commit starts this by itself, in the background.");
    args.flag("--no-wait", background, "Leave the work to another process that is at it already");
    args.example("drupe system maintain", "after many commits, to wait until all is compact");
    if (const auto code = args.parse(argc, argv)) return *code;
    (void)::setpriority(PRIO_PROCESS, 0, kLowestPriority);
    auto local = open_engine();
    if (!local) return fail(local.error());
    const Status done = local.value()->images->store().maintain(!background);
    return done ? 0 : fail(done.error());
}

constexpr std::array kSubcommands{
    CommandInfo{"df", "Show what Drupe occupies on the host's disk", df_command},
    CommandInfo{"maintain", "Compact what commits have sealed", maintain_command},
    CommandInfo{"prune", "Remove what nobody needs", prune_command},
    CommandInfo{"verify", "Compare image layers with their checksums", verify_command},
};

}  // namespace

std::span<const CommandInfo> system_commands() {
    return kSubcommands;
}

int system_command(int argc, char** argv) {
    return run_subcommand("system", "Look after Drupe's files.", kSubcommands, argc, argv);
}

}  // namespace drupe::cli
