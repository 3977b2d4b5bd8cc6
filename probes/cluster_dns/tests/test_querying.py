import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import dns.message
import dns.rcode
import dns.rrset

from probes.cluster_dns.dns_query import Query
from probes.cluster_dns.querying import QueryLimits, problems, query_all
from probes.cluster_dns.servers import Server
from tests.harness.ports import free_port

LONG_TIMEOUT = QueryLimits(timeout=60, tries=2, slow_ms=0)
SHORT_TIMEOUT = QueryLimits(timeout=0.2, tries=2, slow_ms=0)
WEB = Query("inside", "web.shop.svc.cluster.local", "A", frozenset({"10.96.0.7"}))
ANY = Query("outside", "example.com", "A")
Responder = Callable[[dns.message.Message], dns.message.Message | None]


@contextmanager
def dns_server(responder: Responder) -> Iterator[Server]:
    """A DNS server on loopback, UDP and TCP; it sends no response if the answer is None."""
    port = free_port()  # for both protocols: those of outgoing connections may be in use for one of them
    with socket.create_server(("127.0.0.1", port)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", port))

        def serve_udp() -> None:
            while (received := udp.recvfrom(4096))[0] != b"end":
                answer = responder(dns.message.from_wire(received[0]))
                if answer:
                    udp.sendto(answer.to_wire(), received[1])

        def serve_tcp() -> None:
            while True:
                connection, _ = tcp.accept()
                with connection:
                    size = connection.recv(2)
                    if not size:
                        return
                    answer = responder(dns.message.from_wire(connection.recv(struct.unpack("!H", size)[0])))
                    if answer:
                        wire = answer.to_wire()
                        connection.sendall(struct.pack("!H", len(wire)) + wire)

        threads = [threading.Thread(target=serve_udp), threading.Thread(target=serve_tcp)]
        for thread in threads:
            thread.start()
        try:
            yield Server("DNS pod kube-system/a (127.0.0.1, node a)", "127.0.0.1", (("UDP", port), ("TCP", port)))
        finally:
            udp.sendto(b"end", ("127.0.0.1", port))
            socket.create_connection(("127.0.0.1", port)).close()
            for thread in threads:
                thread.join()


def answers_with(*addresses: str, rcode: int = dns.rcode.NOERROR) -> Responder:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.Rcode(rcode))
        if addresses:
            response.answer.append(dns.rrset.from_text(query.question[0].name, 5, "IN", "A", *addresses))
        return response

    return answer


def wrong(responder: Responder, *queries: Query, limits: QueryLimits = LONG_TIMEOUT) -> list[str]:
    with dns_server(responder) as server:
        return problems(query_all([server], list(queries), limits))


def test_the_right_answer_is_not_a_problem_and_its_time_is_measured() -> None:
    with dns_server(answers_with("10.96.0.7")) as server:
        answers = query_all([server], [WEB, ANY], LONG_TIMEOUT)
    assert problems(answers) == []
    assert [(answer.query, answer.protocol) for answer in answers] == [(WEB, "UDP"), (WEB, "TCP"), (ANY, "UDP")]
    assert all(0 < answer.ms < 60_000 for answer in answers)


def test_an_error_has_server_and_query() -> None:
    pod = "DNS pod kube-system/a (127.0.0.1, node a)"
    query = "web.shop.svc.cluster.local A over UDP"
    assert wrong(answers_with(rcode=dns.rcode.SERVFAIL), WEB) == [
        f"{pod}: SERVFAIL; all 2 queries failed, such as {query}"
    ]
    assert wrong(answers_with(), ANY) == [
        f"{pod}: an empty answer, no A record; all 2 queries failed, such as example.com A over UDP"
    ]
    assert wrong(answers_with("10.0.0.66"), ANY, WEB) == [
        f"{pod}: wrong answer 10.0.0.66, expected 10.96.0.7; failed queries: {query}"
    ]


def test_no_answer_is_reported_after_all_tries() -> None:
    with dns_server(lambda _query: None) as server:
        answers = query_all([server], [ANY], SHORT_TIMEOUT)
    udp = answers[0]
    assert (udp.protocol, udp.problem, udp.tries) == ("UDP", "no answer within 0.2 s", 2)


def test_a_query_is_repeated_after_a_lost_datagram() -> None:
    received: list[int] = []

    def lose_the_first(query: dns.message.Message) -> dns.message.Message | None:
        received.append(query.id)
        return answers_with("10.96.0.7")(query) if len(received) > 1 else None

    with dns_server(lose_the_first) as server:
        only_udp = Server(server.name, server.address, server.ports[:1])
        [answer] = query_all([only_udp], [WEB], replace(SHORT_TIMEOUT, tries=50))
    assert (answer.problem, answer.tries >= 2) == ("", True)


def test_a_slow_answer_is_a_problem_even_if_it_is_right() -> None:
    [error, *_] = wrong(answers_with("10.96.0.7"), WEB, limits=QueryLimits(60, 1, slow_ms=0.0001))
    assert "right answer, but after more than 0.0001 ms (SLOW_MS)" in error


def test_a_closed_port_is_reported_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    [answer] = query_all([Server("DNS endpoint (127.0.0.1)", "127.0.0.1", (("TCP", port),))], [ANY], LONG_TIMEOUT)
    assert answer.problem == "connection refused"


def test_queries_with_the_same_failure_are_one_error() -> None:
    queries = [Query("outside", f"{number}.example.com", "A") for number in range(6)]

    def all_but_one(query: dns.message.Message) -> dns.message.Message:
        return (
            answers_with("10.0.0.1")(query) if b"5" in query.question[0].name.labels else answers_with(rcode=3)(query)
        )

    [error] = wrong(all_but_one, *queries)
    assert error.endswith(
        "NXDOMAIN; failed queries: "
        "0.example.com A over UDP, 0.example.com A over TCP, 1.example.com A over UDP and 3 more"
    )
