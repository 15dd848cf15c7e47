"""The nightly full sync: everything that a night has to do, as one job under limits, with a receipt at the end.

config    what the TOML file says, as frozen values
due       which night it is, and whether it has been done: pure
cpu       how busy the machine's processors are
governor  lets chunks go only as fast as the share of the processors allows
graph     the parts of a night and what each waits for: pure
schedule  runs the parts side by side, under the limits
work      what each kind of part does
infer     certificates of completeness, and what is gone by them
book      the table medmirror.nightly, and the lock that keeps a second nightly out
receipt   what came of it, as a document and as a page
plan      the same in one transaction that is rolled back: what would change
night     the whole
"""
