#include "cli/text.h"
#include "api/engine/detach_keys.h"
#include "api/engine/status_text.h"
#include "api/engine/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/container_list.h"
#include "cli/container_options.h"
#include "cli/filters.h"
#include "cli/history_list.h"
#include "cli/image_list.h"
#include "cli/layer_progress.h"
#include "cli/template.h"

namespace drupe::cli {
namespace {

using ::testing::HasSubstr;

TEST(HumanText, DurationsAreDockersWords) {
    EXPECT_EQ(engine::human_duration(0), "Less than a second");
    EXPECT_EQ(engine::human_duration(1), "1 second");
    EXPECT_EQ(engine::human_duration(59), "59 seconds");
    EXPECT_EQ(engine::human_duration(60), "About a minute");
    EXPECT_EQ(engine::human_duration(120), "2 minutes");
    EXPECT_EQ(engine::human_duration(3600), "About an hour");
    EXPECT_EQ(engine::human_duration(47 * 3600), "47 hours");
    EXPECT_EQ(engine::human_duration(48 * 3600), "2 days");
    EXPECT_EQ(engine::human_duration(14 * 86400), "2 weeks");
    EXPECT_EQ(engine::human_duration(800 * 86400ull), "2 years");
}

TEST(HumanText, SizesHaveThreeDigits) {
    EXPECT_EQ(human_size(0), "0B");
    EXPECT_EQ(human_size(54), "54B");
    EXPECT_EQ(human_size(4322938), "4.32MB");
    EXPECT_EQ(human_size(1980000), "1.98MB");
    EXPECT_EQ(human_size(123456789), "123MB");
}

TEST(HumanText, BinarySizesHaveFourDigits) {
    EXPECT_EQ(binary_size(0), "0B");
    EXPECT_EQ(binary_size(1536), "1.5KiB");
    EXPECT_EQ(binary_size(512ull << 20), "512MiB");
    EXPECT_EQ(binary_size(1234567890), "1.15GiB");
}

TEST(ParseRestart, AsDockerWritesThem) {
    EXPECT_EQ(parse_restart("no").value().kind, engine::RestartPolicy::Kind::kNo);
    EXPECT_EQ(parse_restart("on-failure:3").value().max_retries, 3u);
    for (const char* bad : {"", "never", "always:2", "on-failure:", "on-failure:x"}) {
        EXPECT_FALSE(parse_restart(bad)) << bad;
    }
}

TEST(ParseSize, UnitsArePowersOf1024AndNonsenseIsRefused) {
    EXPECT_EQ(engine::parse_bytes("64").value(), 64u);
    EXPECT_EQ(engine::parse_bytes("64m").value(), 64u << 20);
    EXPECT_EQ(engine::parse_bytes("64MB").value(), 64u << 20);
    EXPECT_EQ(engine::parse_bytes("64MiB").value(), 64u << 20);
    EXPECT_EQ(engine::parse_bytes("1.5g").value(), 3ull << 29);
    for (const char* bad : {"", "m", "-1", "1x", "1mm", "99999999999999999999", "1e9", " 1"}) {
        EXPECT_FALSE(engine::parse_bytes(bad)) << bad;
    }
}

TEST(StorageOptions, SizeIsTheOnlyOneAndHasASmallestValue) {
    EXPECT_EQ(parse_storage_options({}).value(), 0U);
    EXPECT_EQ(parse_storage_options({"size=10G"}).value(), uint64_t{10} << 30);
    EXPECT_EQ(parse_storage_options({"SIZE=512m"}).value(), uint64_t{512} << 20);
    for (const char* bad : {"size", "size=", "size=big", "size=0", "size=1023k", "quota=1g"}) {
        EXPECT_FALSE(parse_storage_options({bad})) << bad;
    }
}

TEST(ParseCpus, FractionsAreBillionths) {
    EXPECT_EQ(parse_cpus("1.5").value(), 1'500'000'000u);
    EXPECT_EQ(parse_cpus("2").value(), 2'000'000'000u);
    for (const char* bad : {"", "0", "x", "1.5x", "-1"}) EXPECT_FALSE(parse_cpus(bad)) << bad;
}

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
    Table table({"A", "LONG", "C"});
    table.row({"xxx", "y", "z"});
    table.row({"…", "", "w"});
    EXPECT_EQ(table.text(), "A     LONG   C\nxxx   y      z\n…            w\n");
}

TEST(Template, NamesJsonAndEscapesAreUnderstoodAndNothingElse) {
    const nlohmann::json value{{"A", "x"}, {"B", {{"C", 3}, {"D", {"p", "q"}}}}, {"N", nullptr}};
    EXPECT_EQ(render("{{.A}}-{{ .B.C }}\\t|", value).value(), "x-3\t|");
    EXPECT_EQ(render("{{json .B.D}} {{.B.D}}", value).value(), "[\"p\",\"q\"] [p q]");
    EXPECT_EQ(render("{{json .A}}", value).value(), "\"x\"");
    for (const char* bad : {"{{.Nope}}", "{{.A", "{{range .B}}", "{{.A.B}}", "{{}}", "{{A}}"}) {
        const auto rendered = render(bad, value);
        ASSERT_FALSE(rendered) << bad;
        EXPECT_THAT(rendered.error().message, HasSubstr("--format"));
    }
}

TEST(Template, TablesHaveAHeader) {
    const nlohmann::json items{{{"ID", "1"}, {"Names", "web"}}, {{"ID", "22"}, {"Names", "db"}}};
    EXPECT_EQ(render_list("table {{.ID}}\\t{{.Names}}", items).value(),
              "CONTAINER ID   NAMES\n1              web\n22             db\n");
    EXPECT_EQ(render_list("json", items).value(),
              "{\"ID\":\"1\",\"Names\":\"web\"}\n{\"ID\":\"22\",\"Names\":\"db\"}\n");
}

ListedContainer container() {
    ListedContainer c;
    c.id = std::string(64, 'a');
    c.name = "web";
    c.image = "app";
    c.command = "run a very long command line";
    c.state = c.status = "Created";
    c.labels = {{"a", "b"}};
    c.created_at_ns = 1'000'000'000;
    return c;
}

TEST(ContainerList, LongCommandsAreCutUnlessAskedNotTo) {
    EXPECT_THAT(list_text({container()}, {}, 3'000'000'000).value(),
                HasSubstr("aaaaaaaaaaaa   app     \"run a very long com…\"   2 seconds ago   "
                          "Created           web\n"));
    ListOptions full;
    full.no_trunc = true;
    EXPECT_THAT(list_text({container()}, full, 0).value(), HasSubstr("command line\""));
}

TEST(Filters, AreKeysWithValuesAndTheDaemonsToKnow) {
    EXPECT_EQ(filters_json({}).value(), "{}");
    EXPECT_EQ(filters_json({"name=a", "label=x=y", "name=b"}).value(),
              "{\"label\":[\"x=y\"],\"name\":[\"a\",\"b\"]}");
    for (const char* bad : {"name", "name=", "=x", ""}) EXPECT_FALSE(filters_json({bad})) << bad;
}

/// What LayerLines write on a terminal of that size (0 x 0: none).
std::string shown(uint16_t rows, uint16_t columns,
                  const std::vector<engine::LayerProgress>& steps) {
    char* text = nullptr;
    size_t size = 0;
    std::FILE* const out = ::open_memstream(&text, &size);
    LayerLines lines(out, rows, columns);
    for (const auto& step : steps) lines.show(step);
    std::fclose(out);
    std::string result(text, size);
    std::free(text);
    return result;
}

TEST(LayerLines, WithoutATerminalEachStateIsALineAndCountsAreNone) {
    EXPECT_EQ(shown(0, 0,
                    {{"aa", "Pulling fs layer"},
                     {"bb", "Pulling fs layer"},
                     {"aa", "Downloading", 1, 9},
                     {"aa", "Downloading", 5, 9},
                     {"aa", "Pull complete"},
                     {"aa", "Pull complete"}}),
              "aa: Pulling fs layer\nbb: Pulling fs layer\naa: Pull complete\n");
}

TEST(LayerLines, OnATerminalALineIsDrawnInPlaceWhileThereIsRoom) {
    EXPECT_EQ(shown(24, 80, {{"aa", "Waiting"}, {"bb", "Waiting"}, {"aa", "Done"}}),
              "\n\x1b[1A\r\x1b[2Kaa: Waiting\x1b[1B\r"
              "\n\x1b[1A\r\x1b[2Kbb: Waiting\x1b[1B\r"
              "\x1b[2A\r\x1b[2Kaa: Done\x1b[2B\r");
    EXPECT_THAT(shown(2, 80, {{"aa", "Waiting"}}), HasSubstr("aa: Waiting\n"));
}

TEST(LayerLines, TheBarGivesWayOnANarrowTerminal) {
    const engine::LayerProgress half{"aa", "Downloading", 500, 1000};
    EXPECT_EQ(layer_text(half, 120), "aa: Downloading [" + std::string(25, '=') + ">" +
                                         std::string(24, ' ') + "]    500B/1kB");
    EXPECT_EQ(layer_text(half, 40), "aa: Downloading     500B/1kB");
    EXPECT_EQ(layer_text(half, 10), "aa: Downlo");
}

TEST(ImageList, ADigestIsNoTag) {
    const std::string id = "sha256:" + std::string(64, '1');
    const std::vector<ListedImage> images{{id, {"localhost:5000/foo@" + id}, "", 54, 0}};
    EXPECT_THAT(image_list_text(images, {}, 0).value(),
                HasSubstr("localhost:5000/foo   <none>   111111111111"));
}

TEST(ImageList, EachNameHasALineAndPortsAreNoTags) {
    const std::vector<ListedImage> images{
        {"sha256:" + std::string(64, '1'), {"localhost:5000/foo", "foo:1"}, "", 54, 0},
        {"sha256:" + std::string(64, '2'), {}, "", 0, 0}};
    const std::string text = image_list_text(images, {}, 0).value();
    EXPECT_THAT(text, HasSubstr("localhost:5000/foo   <none>   111111111111"));
    EXPECT_THAT(text, HasSubstr("foo                  1        111111111111"));
    EXPECT_THAT(text, HasSubstr("<none>               <none>   222222222222"));
    ImageListOptions one;
    one.name = "foo";
    one.quiet = true;
    EXPECT_EQ(image_list_text(images, one, 0).value(), "111111111111\n");
}

TEST(History, ALineForEachStepAsDockerPrintsIt) {
    const std::vector<ListedStep> entries{
        {"sha256:" + std::string(64, '1'), 1000, "RUN\tmake " + std::string(60, 'x'), "by hand",
         4'322'938},
        {"<missing>", 0, "", "Imported from -", 0}};
    constexpr uint64_t kNow = (1000 + 180) * uint64_t{1'000'000'000};
    EXPECT_EQ(
        history_text(entries, {}, kNow).value(),
        "IMAGE          CREATED         CREATED BY                                      SIZE "
        "    COMMENT\n"
        "111111111111   3 minutes ago   RUN make " +
            std::string(35, 'x') +
            "…   4.32MB   by hand\n"
            "<missing>      N/A                                                             0B  "
            "     Imported from -\n");
    HistoryOptions options;
    options.format = "{{.ID}} {{.Size}}";
    EXPECT_EQ(history_text(entries, options, kNow).value(), "111111111111 4.32MB\n<missing> 0B\n");
}

TEST(DetachKeys, TheSequenceIsFoundAcrossReadsAndWhatOnlyBeginsLikeItGoesThrough) {
    engine::DetachKeys filter(engine::parse_detach_keys("ctrl-p,ctrl-q").value());
    EXPECT_EQ(filter.pass("ab\x10"), "ab");
    EXPECT_EQ(filter.pass("c"),
              "\x10"
              "c");
    EXPECT_EQ(filter.pass("\x10\x10"), "\x10");
    EXPECT_FALSE(filter.matched());
    EXPECT_EQ(filter.pass("\x11zz"), "");
    EXPECT_TRUE(filter.matched());
    EXPECT_EQ(engine::parse_detach_keys("a,ctrl-[").value(), "a\x1b");
    for (const char* bad : {"ctrl-,x", "ctrl-", "ctrl-pp", "ab", "ctrl-p,,"}) {
        EXPECT_FALSE(engine::parse_detach_keys(bad)) << bad;
    }
    EXPECT_EQ(engine::parse_detach_keys("").value(), "");
    EXPECT_EQ(engine::DetachKeys("").pass("a\x10\x11"), "a\x10\x11");
}

TEST(EnvFile, CommentsAndBlankLinesAreSkippedAndNamelessOnesRefused) {
    const std::string path = ::testing::TempDir() + "/env";
    const auto write = [&](const std::string& text) {
        std::FILE* file = std::fopen(path.c_str(), "w");
        std::fputs(text.c_str(), file);
        std::fclose(file);
    };
    ::setenv("DRUPE_TEST_VARIABLE", "mine", 1);
    write("# no\n\nA=1\r\n  B=two words\nDRUPE_TEST_VARIABLE\nDRUPE_TEST_UNSET\n");
    EXPECT_THAT(read_env_file(path).value(),
                ::testing::ElementsAre("A=1", "B=two words", "DRUPE_TEST_VARIABLE=mine"));
    write("=x\n");
    EXPECT_FALSE(read_env_file(path));
    write("A B=x\n");
    EXPECT_FALSE(read_env_file(path));
    EXPECT_FALSE(read_env_file("/no/such/file"));
    ::unlink(path.c_str());
}

}  // namespace
}  // namespace drupe::cli
