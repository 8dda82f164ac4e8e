"""A Ray cluster whose nodes come and go as told: one word a line on standard input, one answer a line.

The first line it prints is the cluster's address; `add` adds a node with one CPU, `lose` takes the last one away as a
power cut would. It ends, with all nodes, at the end of its input. A process of its own, since Ray reads how to
authenticate when it is imported.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import psutil
from ray.cluster_utils import Cluster

ARGUMENTS = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=ARGUMENTS)
    nodes = []
    answer(cluster.address)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(**ARGUMENTS))
        else:
            node = nodes.pop()
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            for process in raylet.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()  # a lost machine takes its workers along; a killed raylet's live on for a moment
            cluster.remove_node(node, allow_graceful=False)
        answer("done")
    cluster.shutdown()


def answer(words: str) -> None:
    print(f"> {words}", flush=True)


if __name__ == "__main__":
    main()
