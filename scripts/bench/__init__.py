"""What `make bench` measures and how; docs/performance.md says why it can be trusted.

run.py        the command: which cases, in which order, and what becomes of the figures
laboratory.py the machine: cores, load generator, reference servers, proxies as people run them
peers.py      who is measured, and the settings that a peer may do best with
rounds.py     alternating rounds, and what a process spent meanwhile
statistics.py medians and their intervals, without any assumption
marks.py      what is demanded of a figure, and whether it holds
results.py    what a case has measured, and how its figures are called
cases/        one file per kind of case; cases/__init__.py is the list
calls.py      system calls per message, per session and per gigabyte
report.py     the table in the terminal
plots.py      SVG; document.py the generated part of docs/performance.md
"""
