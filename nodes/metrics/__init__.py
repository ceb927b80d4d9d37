"""How well pictures keep a subject and follow a prompt, as JeDi's tables measure it, and what is chosen by that."""
