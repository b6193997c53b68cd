"""The service as an application for a Ray Serve that somebody else starts, such as KubeRay's RayService.

`entrepot serve` starts Ray and Serve itself and needs none of this. Here they run already, and what `serve.launch` sets
in their environment must be set where they were started: `cluster/kuberay/rayservice.yaml` does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serve.control import CONTROL
from serve.deployment import POLICY_SERVER
from serve.keys import KeysFile
from serve.launch import LaunchError
from serve.settings import ServeSettings


def build(args: Mapping[str, Any]) -> Any:
    """Builds the application; its import path is `serve.app:build`.

    Args:
        args: Fields of `ServeSettings`. `keys_file` is required: where Serve listens is not ours to say, and by default
            it listens on all interfaces. `host` and `port` are Serve's own `http_options`, and refused here.

    Returns:
        The application, with `replicas` replicas.

    Raises:
        LaunchError: If a setting is not known or not allowed, or there are no keys.
        serve.keys.KeysError: If the keys cannot be read.
    """
    for name in ("host", "port"):
        if name in args:
            raise LaunchError(f"{name}: got {args[name]!r}, allowed is to say it in Serve's own http_options")
    try:
        settings = ServeSettings.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors()[0]
        raise LaunchError(f"{first['loc'][0]}: got {first['input']!r}, allowed: {first['msg']}") from None
    if settings.keys_file is None:
        raise LaunchError("keys_file: got none, required is a file of keys, made by `entrepot keys add`")
    KeysFile(settings.keys_file).read()
    return POLICY_SERVER.options(num_replicas=settings.replicas).bind(settings, CONTROL.bind(settings))
