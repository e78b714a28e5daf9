"""Build charts as plain values: specifications of Vega-Lite and ECharts, and DOT of Graphviz.

The modules are pure: no Streamlit, clock, disk or network. So tests compare values.

Names of runs, tasks and parameters are data. They stand in values and titles, and never in the
names of fields or in expressions, because Vega-Lite evaluates those.
"""

from __future__ import annotations

# A JSON object that Vega-Lite or ECharts reads.
ChartSpec = dict[str, object]
