"""One service in a process of its own, ours or RLlib's example: it says when it is ready, and runs until ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.contender import MARK, options


def ours(folder: Path, port: int, **settings: Any) -> None:
    """Our service, as `entrepot serve` starts it: keys, validation, metrics and access log on."""
    from serve.launch import check, serve
    from serve.settings import ServeSettings

    made = ServeSettings.model_validate(
        {"models": (f"bench={folder / 'bundle'}",), "port": port, "keys_file": folder / "keys.json", **settings}
    )
    check(made)
    serve(made, lambda running: print(f"{MARK}{{}}", flush=True))


def rllib_example(folder: Path, port: int, **options: Any) -> None:
    """RLlib's example of a deployment, written anew: one observation in, the likeliest action out.

    It is `rllib/examples/ray_serve` of Ray 2.60 in what it does and in its settings, on loopback.
    """
    import logging

    import ray
    from ray import serve

    from benchmarks.serving_example import Example

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Example.options(**options).bind(str(folder / "module")), route_prefix="/act")
    print(f"{MARK}{{}}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


def main() -> None:
    """Runs what the options say."""
    given = options(sys.argv)
    which, folder, port = given.pop("which"), Path(given.pop("folder")), given.pop("port")
    if which == "ours":
        ours(folder, port, **given)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        rllib_example(folder, port, **given)


if __name__ == "__main__":
    main()
