"""The report card of an external system: what it promises, and which of it holds under faults.

`report_card` has the data, `contract` the criteria for a healthy system, `outages` the table of
faults with their criteria, `clients` the requests, `judging` the verdicts on an outage, `runner`
the whole check, `formats` the output.
"""
