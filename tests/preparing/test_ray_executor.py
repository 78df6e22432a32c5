"""A Ray cluster of two local nodes, one of them killed in the middle of a job: the bytes are those of a local run."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from prepare_helpers import real_texts, snapshot
from windrow import prepare

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("WINDROW_EXHAUSTIVE"), reason="a minute; set WINDROW_EXHAUSTIVE to run it"),
]

JOB = textwrap.dedent("""
    import sys, time
    import ray
    from ray.cluster_utils import Cluster
    from windrow.preparing.prepare import prepare
    from windrow.preparing.ray_executor import RayExecutor

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=2)
    calls = []

    def kill(_):
        calls.append(1)
        if len(calls) == 2:
            cluster.remove_node(node, allow_graceful=False)

    with RayExecutor(cluster.address) as executor:
        assert executor._max_workers == 3
        reports = []
        prepare(sys.argv[1], sys.argv[2], valid_fraction=0.1, executor=executor, on_report=kill)
        assert len(calls) > 4  # the node went in the middle of the job
        for _ in range(300):
            alive = sum(node["Alive"] for node in ray.nodes())
            if alive == 1:
                break
            time.sleep(0.1)
        print("nodes left:", alive)
    cluster.shutdown()
""")


def test_a_job_on_two_ray_nodes_ends_with_the_local_bytes_when_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    texts = real_texts(40_000_000)
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    (folder / "b.txt").write_bytes("".join(texts)[:20_000_000].encode())
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    out = subprocess.run(
        [sys.executable, "-c", JOB, str(folder), str(tmp_path / "ray")],
        capture_output=True,
        text=True,
        timeout=280,
        env=environment,
    )
    assert out.returncode == 0, out.stderr[-3000:]
    assert "nodes left: 1" in out.stdout
    prepare(folder, tmp_path / "local", valid_fraction=0.1)
    assert snapshot(tmp_path / "ray") == snapshot(tmp_path / "local")
