"""The fleet: which clusters there are, how they are chosen, and the one door to each one's API.

`clusters` and `breaker` write the store's Cluster rows, `selectors` choose among them by label,
`credentials` keep what opens them, `api` talks to them and raises `errors` only. Next stage: `catalog`
says what is probed on which cluster.
"""
