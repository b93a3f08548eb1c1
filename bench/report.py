"""What every benchmark prints: a table, or with --json one object a line."""

import atexit
import glob
import json
import os
import signal
import statistics
import sys
import tempfile


def daemon_pids(folder):
    """Of the daemons that commands have started for a $DRUPE_ROOT in the folder, or that is it."""
    for path in glob.glob(folder + "/**/run/druped.pid", recursive=True):
        with open(path) as file:
            yield int(file.read())


def end_daemons(folder):
    for pid in daemon_pids(folder):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def scratch_folder():
    """A new folder on a real disk, whose daemons end with this program."""
    folder = tempfile.mkdtemp(prefix="drupe-bench-", dir="/scratch" if os.path.isdir("/scratch") else None)
    atexit.register(end_daemons, folder)
    return folder


class Report:
    def __init__(self, as_json):
        self.as_json = as_json
        self.rows = []

    def add(self, figure, value, unit, peer="", peer_value=None, goal=""):
        """goal is a bound on the ratio to the peer, or on the value where there is no peer: "<= 0.65", ">= 1.5"."""
        ratio = None
        if peer_value:
            ratio = round(value / peer_value, 3)
        row = {"figure": figure, "value": round(value, 2), "unit": unit, "peer": peer,
               "peer_value": None if peer_value is None else round(peer_value, 2),
               "ratio": ratio, "goal": goal}
        self.rows.append(row)
        if self.as_json:
            print(json.dumps(row), flush=True)

    @staticmethod
    def met(row):
        if not row["goal"]:
            return ""
        relation, bound = row["goal"].split()
        value = row["value"] if row["ratio"] is None else row["ratio"]
        return "yes" if (value <= float(bound) if relation == "<=" else value >= float(bound)) else "NO"

    def finish(self):
        """Prints the table; the exit status: 1 if a goal was missed."""
        if not self.as_json:
            print(f"{'figure':44} {'value':>10} {'unit':6} {'peer':28} {'value':>10} {'ratio':>7} goal      met")
            for row in self.rows:
                peer = "" if row["peer_value"] is None else f"{row['peer_value']:10.1f}"
                ratio = "" if row["ratio"] is None else f"{row['ratio']:7.3f}"
                print(f"{row['figure']:44} {row['value']:10.1f} {row['unit']:6} {row['peer']:28} "
                      f"{peer:>10} {ratio:>7} {row['goal']:9} {self.met(row)}")
        return 1 if any(self.met(row) == "NO" for row in self.rows) else 0


def median(values):
    if not values:
        sys.exit("bench: no measurement succeeded")
    return statistics.median(values)
