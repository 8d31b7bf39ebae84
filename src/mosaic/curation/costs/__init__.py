"""What a curation recipe takes before it runs: GPU and core hours a stage, tokens of language models, disk.

`assumptions` is what nobody knows beforehand, `rates` what one piece takes and where that is from; `counting`
says how many pieces there are, `lines` puts the two together, `report` tells.
"""
