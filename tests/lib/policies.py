# SPDX-License-Identifier: Apache-2.0
"""Policies that tests use."""



# A machine that is busy with something else is no reason to leave text on small pages, here, nor to lose
# a report.
PATIENT = {"file_timeout": "60s", "hold_timeout": "10s"}
ALL = {"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, **PATIENT}]}


def policy_with(**settings):
    """A policy that remaps every program, with these settings."""
    return {"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, **PATIENT, **settings}]}
