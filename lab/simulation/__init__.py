"""Two simulations: of a fleet too large for one machine, and of histories too rare for a real run.

fleet/      a queueing model with measured parameters: `lab simulate`
histories/  the real handlers under a deterministic scheduler with virtual time: `lab search`
"""
