"""The dashboard: who looks, where the pages are, and how old what they show is."""

import streamlit as st

from kfgcp_dashboard import elements, frame, server

st.set_page_config(page_title="kfgcp", page_icon=str(server.ICON), layout="wide")
st.logo(str(server.LOGO), icon_image=str(server.ICON), size="large")
elements.guarded(frame.show)()
