"""The fleet: the clusters of this installation, their selection by label, and the client of each one's API.

`clusters` and `breaker` write the store's Cluster rows, `selectors` choose among them by label, `credentials` encrypts
their connections, `api` sends requests and raises `errors` only, `reflector` lists and watches. Next stage: `catalog`
says what is probed on which cluster.
"""
