"""What a person may have meant by a name that is not there: what another program calls so, or what is near in letters.

The tables hold the words of Hydra, of the frameworks, of MLflow, Optuna and scikit-learn; the names of the frameworks
themselves stand in their rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence

# Setting -> what others call it: by its last name, or by all of it where the last alone says too little.
SETTINGS = {
    "experiment": "exp experiment_name task config.experiment",
    "name": "run_name title",
    "data": "dataset datasets datamodule data_module",
    "data.path": "data_dir data_path data_root dataroot root csv file files",
    "data.validation_fraction": "val_split validation_split val_fraction val_size validation_size valid_size",
    "data.test_fraction": "test_split test_size",
    "network": "model net arch architecture backbone network.name model.name network.type",
    "network.depth": "layers n_layers num_layers hidden_layers",
    "network.width": "hidden hidden_size hidden_dim hidden_units units filters channels neurons",
    "optimizer": "optim opt solver optimizer.name optimizer.type",
    "optimizer.learning_rate": "lr base_lr init_lr initial_lr lr_init learningrate learning_rate_init step_size eta",
    "optimizer.epsilon": "eps",
    "optimizer.beta1": "beta_1 betas",
    "optimizer.beta2": "beta_2",
    "schedule": "scheduler lr_scheduler lr_schedule",
    "schedule.warmup_epochs": "warmup",
    "training.epochs": "epoch max_epochs n_epochs num_epochs nb_epoch nb_epochs train_epochs",
    "training.batch_size": "batch bs batchsize minibatch mini_batch_size train_batch_size per_device_train_batch_size",
    "training.loss": "loss criterion loss_fn",
    "training.precision": "dtype amp mixed_precision half",
    "training.jit": "compile jit_compile torch_compile xla",
    "training.gradient_accumulation_steps": "accumulate_grad_batches grad_accum gradient_accumulation accumulation",
    "training.evaluate_every": "check_val_every_n_epoch validation_freq eval_every",
    "training.class_weights": "class_weight",
    "training.keep": "save_top_k save_best_only restore_best_weights",
    "regularization.dropout": "drop dropout_rate drop_rate drop_prob p_dropout",
    "regularization.weight_decay": "wd",
    "regularization.clip.limit": "gradient_clip_val grad_clip clipnorm clip_grad_norm max_grad_norm clip_value",
    "regularization.clip.kind": "gradient_clip_algorithm",
    "regularization.early_stopping.patience": "es_patience",
    "regularization.label_smoothing": "smoothing",
    "seed": "seeds random_seed random_state manual_seed seed_everything n_seeds repeats",
    "framework": "frameworks library backend",
    "executor.device": "gpu cuda accelerator use_gpu",
    "executor.devices": "gpus n_gpus num_gpus ngpus num_devices",
    "executor.workers": "n_jobs njobs num_workers n_workers parallel processes max_workers",
    "executor.threads": "num_threads n_threads cores cpus intra_op_parallelism_threads",
    "executor.time_limit_seconds": "max_time time_limit",
    "tuning": "tune search hpo study sweeper",
    "tuning.trials": "n_trials num_trials max_trials trial n_iter",
    "tuning.timeout_seconds": "timeout",
    "tuning.study": "study_name",
    "tuning.objectives": "direction directions monitor metric objective",
    "tuning.space": "search_space param_space params hparams hydra.sweeper.search_space",
    "tracking.uri": "tracking_uri mlflow_tracking_uri backend_store_uri mlflow",
    "tracking.tensorboard": "logger use_tensorboard",
    "tracking.reuse": "cache cached overwrite force rerun",
    "output": "output_dir out out_dir outdir log_dir logdir save_dir results_dir default_root_dir artifact_location",
}
# A choice or value -> what others call it.
CHOICES = {
    "gpu": "cuda mps",
    "mlp": "dense fc fnn ffn perceptron linear feedforward",
    "cnn": "conv conv2d convnet lenet convolution",
    "lstm": "rnn recurrent",
    "none": "off no false disabled",
    "constant": "none off no fixed",
    "cosine": "cosine_annealing cosineannealinglr cosine_decay cosinedecay",
    "exponential": "exponentiallr exponential_decay exponentialdecay",
    "step": "steplr multisteplr piecewise piecewise_constant",
    "warmup": "linear_warmup",
    "cross_entropy": "ce nll crossentropy crossentropyloss categorical_crossentropy sparse_categorical_crossentropy",
    "binary_cross_entropy": "bce bceloss bce_with_logits binary_crossentropy",
    "mean_squared_error": "mse mseloss",
    "brier_score": "brier",
    "float32": "fp32 32 32_true single full",
    "float64": "fp64 64 64_true double",
    "mixed_bfloat16": "bf16 bf16_mixed bfloat16 mixed",
    "mixed_float16": "fp16 16 16_mixed float16 half amp",
    "glorot_uniform": "xavier xavier_uniform glorot",
    "he_uniform": "kaiming kaiming_uniform he",
    "leaky_relu": "lrelu leakyrelu",
    "lr_depth": "optuna search tune true yes on",
    "learning_rate": "lr",
    "train": "fit run training",
    "parity": "certify certificate verify",
    "report": "plot summary",
    "doctor": "check info diagnose diagnostics env environment health",
    "TPESampler": "tpe",
    "QMCSampler": "qmc sobol",
    "RandomSampler": "random",
    "GridSampler": "grid",
    "CmaEsSampler": "cmaes cma",
    "GPSampler": "gp bayesian",
    "NopPruner": "none off",
    "MedianPruner": "median",
    "minimize": "min",
    "maximize": "max",
}
# What is no setting -> what does what is meant.
SENTENCES = {
    "help": "--help names what can be typed",
    "version": "--version prints it, with those of the packages",
    "resume resume_from ckpt ckpt_path checkpoint": "the same command goes on where it stopped, without a word for it",
    "debug verbose": "TANDEM_DEBUG=1 before the command shows the traceback of what goes wrong",
    "dry_run dryrun list print_config": "--cfg job prints the settings of a command, and runs nothing",
    "config config_file conf": "a config of your own is an experiment: --config-dir FOLDER experiment=NAME",
    "wandb": "runs are kept in MLflow, which `mlflow ui` shows; tracking.tensorboard=true writes for TensorBoard too",
}


def settings_meant(typed: str, known: Collection[str]) -> list[str]:
    """The settings that a key may stand for which is none: at most three, the likeliest first.

    Args:
        typed: The key, such as "trainer.max_epochs".
        known: Every key and group there is.
    """
    key = plain(typed)
    if key in known:  # but for its case
        return [key]
    group, _, last = key.rpartition(".")
    if told := [ours for ours, theirs in SETTINGS.items() if {key, last} & set(theirs.split())]:
        return told
    by_last: dict[str, list[str]] = {}
    for each in sorted(known):
        by_last.setdefault(each.rpartition(".")[2], []).append(each)
    if len(by_last.get(last, ())) in (1, 2, 3):
        return by_last[last]
    beside = [name for name, keys in by_last.items() if f"{group}.{name}".lstrip(".") in keys]
    if near := difflib.get_close_matches(last, beside, n=1):
        return [f"{group}.{near[0]}".lstrip(".")]
    near = difflib.get_close_matches(last, by_last, n=1, cutoff=0.75)
    return by_last[near[0]][:3] if near else []


def nearest(name: object, known: Iterable[str], *, also: Mapping[str, str] | None = None) -> list[str]:
    """Those of `known` that a name may stand for which is none of them: at most four, the likeliest first.

    Args:
        name: As it was typed.
        known: Choices, values or the names of settings.
        also: Synonyms of `known` beside those that are told here.
    """
    word = plain(str(name))
    by_plain = {plain(each): each for each in known}
    for said in dict.fromkeys((word, word.rpartition("/")[2].rpartition(".")[2])):
        if told := [by_plain[ours] for ours in dict.fromkeys(_synonyms(said, also or {})) if ours in by_plain]:
            return told
        if said in by_plain:
            return [by_plain[said]]
    found = difflib.get_close_matches(word, by_plain, n=1, cutoff=0.85)
    if not found and len(word) > 2:
        inside = [each for each in by_plain if word in each]
        found = ([each for each in inside if each.startswith(word)] or inside)[:4]
    return [by_plain[each] for each in found or difflib.get_close_matches(word, by_plain, n=1)]


def _synonyms(word: str, also: Mapping[str, str]) -> list[str]:
    """What of ours is called so: a choice, or a setting by all of its key and by its last name."""
    told = [also[word]] if word in also else []
    told += [ours for ours, theirs in CHOICES.items() if word in theirs.split()]
    keys = [ours for ours, theirs in SETTINGS.items() if word in theirs.split()]
    return [plain(each) for each in (*told, *keys, *(key.rpartition(".")[2] for key in keys))]


def sentence_for(word: str) -> str:
    """What does what is meant by a word that stands for no setting; empty where nothing is known of it."""
    return next((told for names, told in SENTENCES.items() if plain(word) in names.split()), "")


def plain(name: str) -> str:
    """A name without what people vary: its case, dashes, the colon of YAML and the ending of a file."""
    return name.lower().rstrip(":").removesuffix(".yaml").replace("-", "_")


def either(names: Sequence[str]) -> str:
    """Names as a choice between them: "a", "a or b", "a, b or c"."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
