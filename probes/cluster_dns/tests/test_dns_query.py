import pytest

from probes.cluster_dns.dns_query import Query, inside, of_service, outside


def test_a_service_is_queried_by_name_and_reverse_in_each_family() -> None:
    assert of_service("web", "shop", ["10.96.0.7", "fd00::7"], "cluster.local") == [
        Query("inside", "web.shop.svc.cluster.local", "A", frozenset({"10.96.0.7"})),
        Query("inside", "web.shop.svc.cluster.local", "AAAA", frozenset({"fd00::7"})),
        Query("reverse", "7.0.96.10.in-addr.arpa", "PTR", frozenset({"web.shop.svc.cluster.local"})),
        Query(
            "reverse",
            "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            "PTR",
            frozenset({"web.shop.svc.cluster.local"}),
        ),
    ]


@pytest.mark.parametrize(
    ("word", "name", "expected"),
    [
        ("web.shop", "web.shop.svc.example.org", frozenset()),
        ("Web.Shop=10.0.0.7", "web.shop.svc.example.org", frozenset({"10.0.0.7"})),
        ("10-244-0-5.shop.pod.example.org.", "10-244-0-5.shop.pod.example.org", frozenset()),
    ],
)
def test_a_name_inside_the_cluster_is_completed_with_its_domain(word: str, name: str, expected: frozenset[str]) -> None:
    assert inside(word, "example.org") == Query("inside", name, "A", expected)


def test_the_expected_address_decides_the_record_type() -> None:
    assert outside("example.com=2001:DB8::1") == Query("outside", "example.com", "AAAA", frozenset({"2001:db8::1"}))


@pytest.mark.parametrize("word", ["=10.0.0.1", "example.com=", "example.com=ten", "a..b", f"{'a' * 64}.com"])
def test_an_invalid_name_is_refused_with_what_was_expected(word: str) -> None:
    with pytest.raises(ValueError, match="expected NAME or NAME=ADDRESS"):
        outside(word)
