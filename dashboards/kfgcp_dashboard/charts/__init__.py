"""Charts as plain values: Vega-Lite and ECharts specifications, and DOT. Pure: no Streamlit, clock,
disk or network.

Names of runs, tasks and parameters are data: they stand in values and titles, never in names of
fields or expressions.
"""
