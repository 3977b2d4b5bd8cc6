"""Sends queries to servers, times each answer, and describes problems."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver

from probes.cluster_dns.dns_query import Query
from probes.cluster_dns.servers import Server

CONCURRENCY = 8
"""Concurrent queries: few enough not to overload a server."""


@dataclass(frozen=True)
class QueryLimits:
    """Time-out and tries of a query, and when an answer is too slow."""

    timeout: float
    """Seconds for one try."""
    tries: int
    """UDP loses datagrams, so every resolver retries."""
    slow_ms: float
    """Milliseconds above which an answer is too slow; 0: no limit."""


@dataclass(frozen=True)
class Answer:
    """The result of one query to one server over one protocol."""

    server: Server
    query: Query
    protocol: str
    ms: float
    problem: str = ""
    """Empty if the answer is right and in time."""
    tries: int = 1


def query_all(servers: list[Server], queries: list[Query], limits: QueryLimits) -> list[Answer]:
    """Send every query to every server by UDP; over TCP, which long answers need, only the first one."""
    tasks = [
        (server, query, (protocol, port))
        for number, query in enumerate(queries)
        for server in servers
        for protocol, port in server.ports
        if protocol == "UDP" or number == 0
    ]
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(lambda one: query_server(one[0], one[1], one[2], limits), tasks))


def query_server(server: Server, query: Query, over: tuple[str, int], limits: QueryLimits) -> Answer:
    """Query over this protocol and port until there is an answer or no try is left."""
    protocol, port = over
    message = dns.message.make_query(query.name, query.record)
    send = dns.query.tcp if protocol == "TCP" else _by_udp
    problem, ms, tries = "", 0.0, 0
    while tries < limits.tries:
        tries += 1
        started = time.perf_counter()
        try:
            response = send(message, server.address, timeout=limits.timeout, port=port)
        except (OSError, EOFError, dns.exception.DNSException) as error:
            ms = (time.perf_counter() - started) * 1000
            problem = _no_answer(error, limits.timeout)
            continue
        ms = (time.perf_counter() - started) * 1000
        problem = response_problem(query, response) or _too_slow(ms, limits)
        break
    return Answer(server, query, protocol, ms, problem, tries)


def resolve_as_pods_do(name: str, seconds: float) -> tuple[set[str], str]:
    """Addresses of a name by this pod's resolv.conf (servers, search path, ndots), or why there are none."""
    try:
        resolver = dns.resolver.Resolver()
        answer = resolver.resolve(name, "A", search=True, lifetime=seconds)
    except dns.resolver.NXDOMAIN:
        return set(), f"NXDOMAIN, with the search path {_search_path()}"
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return set(), f"{_first_line(error)}; search path {_search_path()}"
    return {record.to_text() for record in answer}, ""


def response_problem(query: Query, response: dns.message.Message) -> str:
    """The problem with an answer's content; empty if it is right."""
    code = response.rcode()
    if code != dns.rcode.NOERROR:
        return dns.rcode.to_text(code)
    wanted = dns.rdatatype.from_text(query.record)
    found = {
        record.to_text().rstrip(".").lower() for rrset in response.answer if rrset.rdtype == wanted for record in rrset
    }
    if not found:
        return f"an empty answer, no {query.record} record"
    if query.expected and found != query.expected:
        return f"wrong answer {_listed(found)}, expected {_listed(query.expected)}"
    return ""


def problems(answers: Iterable[Answer]) -> list[str]:
    """One error per server and kind of problem, with the server and the failed queries."""
    answers = list(answers)
    totals: dict[Server, int] = {}
    failed: dict[tuple[Server, str], list[Answer]] = {}
    for answer in answers:
        totals[answer.server] = totals.get(answer.server, 0) + 1
        if answer.problem:
            failed.setdefault((answer.server, answer.problem), []).append(answer)
    return [
        f"{server.name}: {problem}; {_failed_queries(failures, totals[server])}"
        for (server, problem), failures in failed.items()
    ]


def _failed_queries(answers: list[Answer], total: int) -> str:
    if len(answers) == total > 1:
        return f"all {total} queries failed, such as {answers[0].query} over {answers[0].protocol}"
    names = [f"{answer.query} over {answer.protocol}" for answer in answers[:3]]
    more = f" and {len(answers) - 3} more" if len(answers) > 3 else ""
    return f"failed queries: {', '.join(names)}{more}"


def _by_udp(query: dns.message.Message, address: str, timeout: float, port: int) -> dns.message.Message:
    response, _by_tcp = dns.query.udp_with_fallback(query, address, timeout=timeout, port=port, ignore_unexpected=True)
    return response


def _no_answer(error: Exception, timeout: float) -> str:
    if isinstance(error, (dns.exception.Timeout, TimeoutError)):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, EOFError):
        return "connection closed without an answer"
    return f"invalid answer: {_first_line(error)}"


def _too_slow(ms: float, limits: QueryLimits) -> str:
    if not 0 < limits.slow_ms < ms:
        return ""
    return f"right answer, but after more than {limits.slow_ms:g} ms (SLOW_MS)"


def _search_path() -> str:
    resolver = dns.resolver.Resolver()
    return " ".join(str(domain).rstrip(".") for domain in resolver.search) or "(empty)"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
