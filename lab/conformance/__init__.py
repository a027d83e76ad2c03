"""The report card of somebody else's system: what it promises, and what it holds to when broken.

`card` is what comes out, `contract` what every such system is asked for, `outages` the table of
what is done to it, `visitors` those who use it meanwhile, `judging` what is made of what they saw,
`trying` one after the other, `formats` the card as people and machines want it.
"""
