# SPDX-License-Identifier: Apache-2.0
"""Where OTLP is sent to, who is there, and what comes of an export."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_resinstr.doctor import network
from otel_resinstr.doctor.finding import ERROR, WARNING, Kind
from otel_resinstr.doctor.launched import Export, Exporter
from otel_resinstr.doctor.network import State
from otel_resinstr.doctor.secrets import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

GRPC, HTTP = "grpc", "http/protobuf"
PORTS = {GRPC: 4317, HTTP: 4318}
FOR_ALL = "OTEL_EXPORTER_OTLP_ENDPOINT"
_VARIABLES = "https://opentelemetry.io/docs/languages/sdk-configuration/otlp-exporter/"

NO_SCHEME = Kind(
    "endpoint.no-scheme",
    ERROR,
    "{variable}={url} has no scheme: over HTTP nothing can be sent, and gRPC takes it for TLS.",
    "Set it to http://{url}, or to https://{url} if it wants TLS.",
    _VARIABLES,
)
MALFORMED = Kind(
    "endpoint.malformed",
    ERROR,
    "The address of the end point makes no sense: {error}",
    "Set OTEL_EXPORTER_OTLP_ENDPOINT to an address such as http://localhost:4318.",
    _VARIABLES,
)
SIGNAL_PATH = Kind(
    "endpoint.path-doubled",
    ERROR,
    "{variable} has the path {path}, and the exporters append /v1/traces, /v1/metrics and /v1/logs to it.",
    "Leave {path} out: it is the address of all signals.",
    _VARIABLES,
)
NO_PATH = Kind(
    "endpoint.path-missing",
    ERROR,
    "{variable}={url} has no path, and nothing is appended to the address of one signal.",
    "Set it to {url}/v1/{signal}, or set OTEL_EXPORTER_OTLP_ENDPOINT={url} for all signals.",
    _VARIABLES,
)
CERTIFICATE_FILE = Kind(
    "endpoint.certificate-file",
    ERROR,
    "{variable} names a file that cannot be used.",
    "Let it be the path of a file in PEM format that the command may read, also in its container.",
    _VARIABLES,
)
PROXY = Kind(
    "endpoint.proxy",
    ERROR,
    "{variable} puts a proxy between the command and {address}, which is on this machine.",
    "Set NO_PROXY=localhost,127.0.0.1 and no_proxy likewise: gRPC reads only the latter.",
)
UNRESOLVED = Kind(
    "endpoint.unresolved",
    ERROR,
    "The name {host} has no address here ({signals}).",
    "Check the name in {variable}; in a container it is that of the service, and localhost is the container itself.",
)
REFUSED = Kind(
    "endpoint.refused",
    ERROR,
    "Nothing listens at {address} ({signals}).",
    "Start the Collector there, or set {variable} to where it is. In a container localhost is the container itself.",
)
UNREACHABLE = Kind(
    "endpoint.unreachable",
    ERROR,
    "There is no connection to {address} ({signals}).",
    "Ask whoever runs the network whether this machine may connect to it; where it may not, "
    "a Collector beside the command can send for it.",
)
NOT_TLS = Kind(
    "endpoint.not-tls",
    ERROR,
    "{address} does not speak TLS, and {variable} says https ({signals}).",
    "Write http:// in {variable}, or the port that speaks TLS.",
)
TLS = Kind(
    "endpoint.tls",
    ERROR,
    "{address} wants TLS, and {variable} says http ({signals}).",
    "Write https:// in {variable}.",
)
UNTRUSTED = Kind(
    "endpoint.untrusted",
    ERROR,
    "The certificate of {address} is not trusted ({signals}).",
    "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of the authority that has signed it; "
    "the name in {variable} has to be one that the certificate is for.",
    _VARIABLES,
)
GRPC_TO_HTTP = Kind(
    "endpoint.grpc-to-http",
    ERROR,
    "{address} speaks HTTP, and the exporter gRPC ({signals}).",
    "Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or the port for gRPC in {variable}: usually 4317.",
    _VARIABLES,
)
HTTP_TO_GRPC = Kind(
    "endpoint.http-to-grpc",
    ERROR,
    "{address} speaks gRPC, and the exporter HTTP ({signals}).",
    "Set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or the port for HTTP in {variable}: usually 4318.",
    _VARIABLES,
)
PORT = Kind(
    "endpoint.port",
    WARNING,
    "Port {port} is the one for {other}, and the exporter speaks {protocol} ({signals}).",
    "Set OTEL_EXPORTER_OTLP_PROTOCOL={other}, or port {usual} in {variable}.",
    _VARIABLES,
)
UNAUTHENTICATED = Kind(
    "endpoint.unauthenticated",
    ERROR,
    "{address} does not know who sends ({signals}).",
    "Set OTEL_EXPORTER_OTLP_HEADERS=authorization=..., as the receiver wants it; a space is written %20.",
    _VARIABLES + "#otel_exporter_otlp_headers",
)
FORBIDDEN = Kind(
    "endpoint.forbidden",
    ERROR,
    "{address} does not let the sender in ({signals}).",
    "Check the key in OTEL_EXPORTER_OTLP_HEADERS, and what it may do.",
)
NOT_FOUND = Kind(
    "endpoint.not-found",
    ERROR,
    "{address} has no such path, or does not take these signals ({signals}).",
    "Check the path in {variable}, and whether the receiver has a pipeline for each signal; "
    "OTEL_LOGS_EXPORTER=none turns one off.",
)
SILENT = Kind(
    "endpoint.silent",
    ERROR,
    "{address} did not answer an export within 5 s ({signals}).",
    "Look at the receiver's own log; behind a proxy or a load balancer look whether it lets OTLP through.",
)
FAILED = Kind(
    "endpoint.failed",
    ERROR,
    "{address} did not take an export ({signals}).",
    "What the exporter says; the receiver's own log may say more.",
)

_BY_STATE = {
    State.UNRESOLVED: UNRESOLVED,
    State.REFUSED: REFUSED,
    State.UNREACHABLE: UNREACHABLE,
    State.NOT_TLS: NOT_TLS,
    State.TLS: TLS,
    State.UNTRUSTED: UNTRUSTED,
}
_BY_ANSWER = {
    "401": UNAUTHENTICATED,
    "403": FORBIDDEN,
    "404": NOT_FOUND,
    "405": NOT_FOUND,
    "UNAUTHENTICATED": UNAUTHENTICATED,
    "PERMISSION_DENIED": FORBIDDEN,
    "UNIMPLEMENTED": NOT_FOUND,
}
_ANSWER = re.compile(r"code: (?:StatusCode\.)?(\w+)")


@dataclass(frozen=True)
class Target:
    """Where an exporter sends to, which variable says so, and the files that say whom it trusts and who it is."""

    protocol: str
    variable: str
    url: str
    scheme: str
    host: str
    port: int
    path: str
    secure: bool
    files: tuple[tuple[str, str, str], ...]
    """What each file is, the variable that names it, and its path: CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY."""

    @property
    def address(self) -> str:
        """Host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """For a person, without secrets."""
        return f"http{'s' if self.secure else ''}://{self.address}{self.path}"

    def file(self, name: str) -> str | None:
        """The path of the file that is *name*."""
        return next((path for what, _, path in self.files if what == name), None)


def target(context: Context, exporter: Exporter) -> Target:
    """Where *exporter* sends to, as its documentation has it. Raises ValueError for what is no address."""
    protocol, signal = exporter.protocol or GRPC, exporter.signal
    variable, url = _of(context, signal, "ENDPOINT")
    url = url or f"http://localhost:{PORTS[protocol]}"
    parts = urlsplit(url if "://" in url else f"//{url}")
    path, secure, usual = "", parts.scheme == "https", 443
    if protocol == HTTP:
        path = parts.path
        usual = 443 if secure else 80
        if variable == FOR_ALL:
            path = f"{path.removesuffix('/')}/v1/{signal}"
    elif not secure:
        insecure = _of(context, signal, "INSECURE")[1]
        secure = insecure.lower() != "true" if insecure else parts.scheme != "http"
    named = {name: _of(context, signal, name) for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")}
    return Target(
        protocol,
        variable,
        shown(url).rstrip("/"),
        parts.scheme,
        parts.hostname or "",
        parts.port or usual,
        path,
        secure,
        tuple((name, said_by, file) for name, (said_by, file) in named.items() if secure and file),
    )


def _of(context: Context, signal: str, name: str) -> tuple[str, str | None]:
    """The variable that counts for a signal, its own or that for all, and what it says."""
    of_signal, for_all = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"
    variable = of_signal if context.setting(of_signal) else for_all
    return variable, context.setting(variable)


def check(context: Context) -> Iterator[Finding]:
    """Each end point once, whatever is sent to it: first what its address says, then who is there, then an export."""
    groups: dict[Target, list[Exporter]] = {}
    for exporter in context.report.exporters if context.report else ():
        if exporter.protocol is None:
            continue
        try:
            where = target(context, exporter)
        except ValueError as error:
            variable, url = _of(context, exporter.signal, "ENDPOINT")
            # What it quotes may be a part of a password.
            why = f"see {variable}; in a password / is written %2F" if "@" in (url or "") else error
            yield MALFORMED.found("", error=why)
            continue
        findings = list(_address(context, where, exporter.signal))
        yield from findings
        if not findings:
            # The path is that of the signal: it does not say who is there.
            groups.setdefault(replace(where, path=""), []).append(exporter)
    reached = {}
    for where, exporters in groups.items():
        findings = list(_network(context, where, [exporter.signal for exporter in exporters]))
        yield from findings
        if not findings:
            reached[where] = exporters
    if reached:
        yield from _exports(context, reached)


def _address(context: Context, where: Target, signal: str) -> Iterator[Finding]:
    """What can be said without asking anybody."""
    if not where.scheme and (where.protocol == HTTP or where.secure):
        yield NO_SCHEME.found("", variable=where.variable, url=where.url)
        return
    own_path = urlsplit(where.url).path
    if where.protocol == HTTP and where.variable == FOR_ALL:
        if re.fullmatch(r".*/v1/(traces|metrics|logs)", own_path):
            yield SIGNAL_PATH.found("", variable=where.variable, path=own_path)
    elif where.protocol == HTTP and own_path in ("", "/"):
        yield NO_PATH.found("", variable=where.variable, url=where.url, signal=signal)
    for _, variable, file in where.files:
        try:
            Path(file).read_bytes()
        except OSError as error:
            yield CERTIFICATE_FILE.found(f"{file}: {error.strerror}", variable=variable)
    proxy = _proxy(context, where)
    if proxy and network.is_loopback(where.host):
        yield PROXY.found("", variable=proxy, address=where.address)


def _proxy(context: Context, where: Target) -> str | None:
    return network.proxy(where.scheme, where.host, context.environ, grpc=where.protocol == GRPC)


def _network(context: Context, where: Target, signals: Sequence[str]) -> Iterator[Finding]:
    """Who is there. Behind a proxy that cannot be seen, and only an export tells."""
    if _proxy(context, where):
        return
    try:
        trust = _trust(context, where) if where.secure else None
    except OSError as error:
        named = [variable for _, variable, _ in where.files]
        named += [] if where.file("CERTIFICATE") else [_of_library(where)]
        yield CERTIFICATE_FILE.found(
            str(error), variable=" or ".join(name for name in named if context.setting(name))
        )
        return
    first = State.HTTP2 if where.protocol == GRPC else State.HTTP1
    seen = network.look(where.host, where.port, trust, first=first)
    words = {
        "address": where.address,
        "host": where.host,
        "variable": where.variable,
        "signals": ", ".join(signals),
    }
    answers = seen.state in (State.HTTP1, State.HTTP2)
    if seen.state in _BY_STATE:
        yield _BY_STATE[seen.state].found(seen.said, **words)
    # A server of TLS may answer in clear, to say that it wants TLS.
    elif answers and trust is None and network.wants_tls(where.host, where.port):
        yield TLS.found("", **words)
    # Of one that says nothing to us an export tells more: it may be slow, or want to know who asks.
    elif answers and seen.state is not first:
        kind = GRPC_TO_HTTP if where.protocol == GRPC else HTTP_TO_GRPC
        yield kind.found(seen.state.value, **words)
    other = HTTP if where.protocol == GRPC else GRPC
    if seen.state in (State.UNRESOLVED, State.REFUSED, State.UNREACHABLE) and where.port == PORTS[other]:
        usual = PORTS[where.protocol]
        yield PORT.found("", port=where.port, other=other, protocol=where.protocol, usual=usual, **words)


def _trust(context: Context, where: Target) -> ssl.SSLContext:
    """Whom the exporter trusts: the authorities of the file that is named, or those that its library brings."""
    named = where.file("CERTIFICATE") or context.setting(_of_library(where))
    is_folder = named is not None and where.protocol == HTTP and Path(named).is_dir()
    trust = ssl.create_default_context(
        cafile=None if is_folder else named, capath=named if is_folder else None
    )
    certificate = where.file("CLIENT_CERTIFICATE")
    if certificate:
        trust.load_cert_chain(certificate, where.file("CLIENT_KEY"))
    return trust


def _of_library(where: Target) -> str:
    """The variable by which the exporter's library is told whom to trust; requests takes a folder, too."""
    return "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" if where.protocol == GRPC else "REQUESTS_CA_BUNDLE"


def _exports(context: Context, reached: Mapping[Target, Sequence[Exporter]]) -> Iterator[Finding]:
    """What the exporters themselves get for an answer: with their headers, their compression, their proxy."""
    answers = {Exporter(export.signal, export.name): export for export in context.export()}
    for where, exporters in reached.items():
        by_kind: dict[Kind, list[Export]] = {}
        for exporter in exporters:
            export = answers.get(exporter, Export(exporter.signal, exporter.name, None, ()))
            if export.result == "SUCCESS":
                context.arrived.add(exporter)
            else:
                by_kind.setdefault(_kind(export), []).append(export)
        for kind, exports in by_kind.items():
            yield kind.found(
                "; ".join(dict.fromkeys(line for export in exports for line in export.said)),
                address=where.address,
                variable=where.variable,
                signals=", ".join(export.signal for export in exports),
            )


def _kind(export: Export) -> Kind:
    for line in export.said:
        answer = _ANSWER.search(line)
        if answer is not None and answer[1] in _BY_ANSWER:
            return _BY_ANSWER[answer[1]]
    return SILENT if export.result is None else FAILED
