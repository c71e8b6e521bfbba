"""The dataset card; installed as `dfa_instruct.dataset_card`."""
