"""Which rule made a translation, and which no rule of today would make.

``attributor`` is the judge; ``shapes`` tells what can be told without a twin.
"""
