#include "api/engine/process_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drupe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

protocol::ProcessList list() {
    protocol::ProcessList list;
    list.uptime_ms = 100'000;
    list.realtime_ms = 1'795'000'000'000;  // 2026-11-18T11:06:40Z
    list.memory_bytes = 1 << 30;
    protocol::ProcessInfo shell;
    shell.pid = 1;
    shell.group = shell.session = 1;
    shell.user = "root";
    shell.command = "sh";
    shell.arguments = "sh -c sleep 9";
    shell.state = 'S';
    shell.threads = 1;
    shell.cpu_ms = 61'500;
    shell.started_ms = 40'000;
    shell.virtual_bytes = 4 << 20;
    shell.resident_bytes = 1 << 20;
    protocol::ProcessInfo zombie;
    zombie.pid = 7;
    zombie.parent = 1;
    zombie.uid = 1000;
    zombie.command = "wo\trm";
    zombie.state = 'Z';
    zombie.nice = 5;
    zombie.threads = 1;
    zombie.started_ms = 99'000;
    zombie.terminal = 34816 + 3;
    list.processes = {shell, zombie};
    return list;
}

ProcessTable table(std::string_view arguments) {
    const auto columns = choose_process_columns(arguments);
    EXPECT_TRUE(columns) << columns.error().message;
    return columns ? make_process_table(columns.value(), list()) : ProcessTable{};
}

TEST(ProcessTable, WithoutArgumentsItIsThatOfPsEf) {
    for (const char* arguments : {"", "-ef", "  -e   -f "}) {
        const ProcessTable t = table(arguments);
        EXPECT_THAT(t.titles,
                    ElementsAre("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"));
        ASSERT_EQ(t.rows.size(), 2u);
        EXPECT_THAT(t.rows[0],
                    ElementsAre("root", "1", "0", "99", "11:05", "?", "00:01:01", "sh -c sleep 9"));
        EXPECT_THAT(t.rows[1], ElementsAre("1000", "7", "1", "0", "11:06", "pts/3", "00:00:00",
                                           "[wo?rm] <defunct>"));
    }
}

TEST(ProcessTable, ColumnsAreChosenAndTitledAsWithPs) {
    for (const char* arguments :
         {"-o pid,comm", "-eo pid,comm", "-o pid -o comm", "-opid,comm", "axo pid,comm"}) {
        const ProcessTable t = table(arguments);
        EXPECT_THAT(t.titles, ElementsAre("PID", "COMMAND")) << arguments;
        EXPECT_THAT(t.rows.at(1), ElementsAre("7", "wo?rm <defunct>"));
    }
    EXPECT_THAT(table("-o comm,pid=ID").titles, ElementsAre("COMMAND", "ID"));
}

TEST(ProcessTable, EachCommonColumnIsThere) {
    const ProcessTable t = table("-o stat,etime,pcpu,rss,vsz,tty,time,user,uid,ppid,args,cmd,ni");
    EXPECT_THAT(t.titles, ElementsAre("STAT", "ELAPSED", "%CPU", "RSS", "VSZ", "TT", "TIME", "USER",
                                      "UID", "PPID", "COMMAND", "CMD", "NI"));
    EXPECT_THAT(t.rows[0], ElementsAre("Ss", "01:00", "102.5", "1024", "4096", "?", "00:01:01",
                                       "root", "0", "0", "sh -c sleep 9", "sh -c sleep 9", "0"));
    EXPECT_EQ(t.rows[1][0], "ZN");
}

TEST(ProcessTable, AuxIsBsds) {
    const ProcessTable t = table("aux");
    EXPECT_THAT(t.titles, ElementsAre("USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT",
                                      "START", "TIME", "COMMAND"));
    EXPECT_THAT(t.rows[0], ElementsAre("root", "1", "102.5", "0.1", "4096", "1024", "?", "Ss",
                                       "11:05", "1:01", "sh -c sleep 9"));
}

TEST(ProcessTable, WhatIsNotKnownIsNamed) {
    for (const auto& [arguments, name] : {std::pair{"-o pid,wchan", "wchan"},
                                          {"--forest", "--forest"},
                                          {"-o", "-o"},
                                          {"-p 1", "-p"},
                                          {"-Z", "-Z"}}) {
        const auto refused = choose_process_columns(arguments);
        ASSERT_FALSE(refused) << arguments;
        EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
        EXPECT_THAT(refused.error().message, HasSubstr(name));
    }
}

}  // namespace
}  // namespace drupe::engine
