"""The protocol of JeDi's and Subject-Diffusion's tables: its cases, graphs, scores, tables and page."""
