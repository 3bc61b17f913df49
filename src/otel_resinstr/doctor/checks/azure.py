# SPDX-License-Identifier: Apache-2.0
"""Azure Monitor: the connection string, who answers there, and settings that mean something else with it."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from otel_resinstr.doctor import inside, network
from otel_resinstr.doctor.checks.exporters import SIGNALS, names
from otel_resinstr.doctor.finding import ERROR, WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

VARIABLE = "APPLICATIONINSIGHTS_CONNECTION_STRING"
_PACKAGE = "azure-monitor-opentelemetry"

NO_CONNECTION_STRING = Kind(
    "azure.no-connection-string",
    ERROR,
    f"Azure Monitor is chosen, and {VARIABLE} is not set: nothing is sent, and no instrumentor is started.",
    f"Set {VARIABLE} to what the Application Insights resource shows as its connection string.",
    "https://learn.microsoft.com/azure/azure-monitor/app/connection-strings",
)
MALFORMED = Kind(
    "azure.connection-string",
    ERROR,
    f"{VARIABLE} is not a connection string: {{why}}.",
    "Copy all of it, InstrumentationKey=...;IngestionEndpoint=...; without quotes.",
    "https://learn.microsoft.com/azure/azure-monitor/app/connection-strings",
)
UNREACHABLE = Kind(
    "azure.unreachable",
    ERROR,
    "Azure Monitor's ingestion end point {host} does not answer.",
    "Let the application connect to it (port 443); in a closed network use a private link, or write to files.",
    "https://learn.microsoft.com/azure/azure-monitor/ip-addresses",
)
REFUSED = Kind(
    "azure.refused",
    ERROR,
    "Azure Monitor's ingestion end point {host} does not take telemetry: it answers {status}.",
    "{remedy}",
)
SAMPLER = Kind(
    "azure.sampler",
    WARNING,
    "OTEL_TRACES_SAMPLER={value} is not what configure_azure_monitor() calls it: it keeps 5 spans a second instead.",
    "Where configure_azure_monitor() is called, set it to {azure}; OTEL_TRACES_SAMPLER_ARG stays.",
    "https://learn.microsoft.com/azure/azure-monitor/app/opentelemetry-sampling",
)

_SAMPLERS = {
    "traceidratio": "trace_id_ratio",
    "parentbased_traceidratio": "parentbased_trace_id_ratio",
}
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DEFAULT = "https://dc.services.visualstudio.com"
_REMEDIES = {
    401: "Give the application's identity the role Monitoring Metrics Publisher, or turn local authentication on.",
    402: "The daily cap is reached: raise it, or sample.",
    403: "Give the application's identity the role Monitoring Metrics Publisher, or turn local authentication on.",
    404: "Copy the connection string again: its IngestionEndpoint is no such thing.",
    429: "It is asked too often: send less often (OTEL_METRIC_EXPORT_INTERVAL), or sample.",
    439: "The daily cap is reached: raise it, or sample.",
}
# An empty list of telemetry may be called a bad request, and a region may send on to another: both are answers.
_ANSWERS = (307, 308, 400)


def check(context: Context) -> Iterator[Finding]:
    """Where Azure Monitor is chosen: by an exporter, a distro, or a connection string."""
    text = context.setting(VARIABLE)
    if text is None:
        if _is_chosen(context):
            yield NO_CONNECTION_STRING.found()
        return
    parts = {
        key.strip().lower(): value.strip()
        for key, _, value in (part.partition("=") for part in text.split(";") if part.strip())
    }
    why = _wrong(parts)
    if why:
        yield MALFORMED.found("", why=why)
    else:
        yield from _ingestion(context, parts.get("ingestionendpoint") or _DEFAULT)
    sampler = context.setting("OTEL_TRACES_SAMPLER") or ""
    # Where the launcher sets Azure Monitor up, it is the SDK that reads the name, if anybody does.
    in_code = context.report and _PACKAGE in context.report.versions and not _is_chosen(context)
    if sampler in _SAMPLERS and in_code:
        yield SAMPLER.found(f"{_PACKAGE} is installed", value=sampler, azure=_SAMPLERS[sampler])


def _is_chosen(context: Context) -> bool:
    chosen = [context.setting("OTEL_PYTHON_DISTRO"), context.setting("OTEL_PYTHON_CONFIGURATOR")]
    chosen += [name for signal in SIGNALS for name in names(context, signal)]
    return any((name or "").startswith("azure_monitor_") for name in chosen)


def _wrong(parts: Mapping[str, str]) -> str | None:
    """What is wrong with a connection string, without what stands in it."""
    key = parts.get("instrumentationkey")
    if not key:
        return "it has no InstrumentationKey"
    if not _KEY.fullmatch(key):
        return "its InstrumentationKey is not one (8-4-4-4-12 digits)"
    endpoint = parts.get("ingestionendpoint", "")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        return "its IngestionEndpoint is not an address"
    return None


def _ingestion(context: Context, endpoint: str) -> Iterator[Finding]:
    """Send an empty list of telemetry, through the proxy that the exporter would use."""
    url = f"{endpoint.rstrip('/')}/v2.1/track"
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    proxy = network.proxy(scheme, host.partition(":")[0], context.environ, grpc=False)
    proxies = {scheme: context.environ[proxy]} if proxy else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    request = urllib.request.Request(  # noqa: S310  http or https, as was looked at
        url, b"[]", {"Content-Type": "application/json", "Accept": "application/json"}
    )
    try:
        opener.open(request, timeout=inside.WITHIN).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in _ANSWERS:
            remedy = _REMEDIES.get(
                error.code, "Try again later: it is a fault of the service, or of a proxy before it."
            )
            yield REFUSED.found(str(error.reason), host=host, status=error.code, remedy=remedy)
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # a host's name may be impossible
        yield UNREACHABLE.found(str(error), host=host)
