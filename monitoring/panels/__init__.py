"""Dashboards as rows of panels: what each shows, how it looks when all is well, and the queries behind it.

`python -m monitoring.panels` writes them as Grafana's JSON into `monitoring/dashboards`.
"""
