"""The script that Streamlit runs for each visitor and each click.

`server.py` starts Streamlit with this file.
"""

import streamlit as st

from kfgcp_dashboard import elements, frame, server

# Streamlit wants this call before all others.
st.set_page_config(page_title="kfgcp", page_icon=str(server.ICON), layout="wide")
st.logo(str(server.LOGO), icon_image=str(server.ICON), size="large")
elements.catch_errors(frame.show)()
