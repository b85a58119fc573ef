"""The training of a network, top-down: set up, loop over steps, evaluate, finish.

One *step* is one move of the optimiser: `train.batch` images over all processes, in `train.accumulate` parts
each. How far a training is, is one number, the iteration; learning rate, order of the images and their
augmentation are pure functions of it, which is why a killed training resumes bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.evaluate.found import Result
from maskrcnn.files import write_text
from maskrcnn.labels.types import Dataset
from maskrcnn.shell import printable, shell_command
from maskrcnn.stop import StopRequest
from maskrcnn.train import run_folder
from maskrcnn.train.callbacks import Callback, Several
from maskrcnn.train.checkpoint import TrainingState, random_state, write_state
from maskrcnn.train.evaluation import (
    done_line,
    evaluate_together,
    evaluation_due,
    figure_of_merit,
    judge,
    kept_from,
    scores_line,
    worst_images,
)
from maskrcnn.train.introduction import introduction
from maskrcnn.train.learner import Learner, Share, Step
from maskrcnn.train.log import Log
from maskrcnn.train.nonfinite import refuse_step
from maskrcnn.train.optimizer import rate_at
from maskrcnn.train.processes import follow_processes, together
from maskrcnn.train.report import write_card, write_plots, write_report
from maskrcnn.train.resume import (
    Complete,
    check_unchanged,
    continue_from,
    forget_lost_best,
    progress_of,
    state_of,
)
from maskrcnn.train.sample_images import SAMPLES, draw_found, draw_share, draw_worst
from maskrcnn.train.setup import determinism, fit_to_data, make_accelerator, make_network
from maskrcnn.train.trackers import refuse_missing
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.sampler import describe_repeats
from maskrcnn.training_data.samples import Augment
from maskrcnn.training_data.shapes import describe_shapes, most_graphs, shapes_of


def train(
    config: Config,
    train_data: Dataset,
    val_data: Dataset | None,
    run: Path,
    *,
    resume: bool = False,
    command: str = "",
    recipe: str = "",
    network: nn.Module | None = None,
    callbacks: Sequence[Callback] = (),
    augment: Augment | None = None,
) -> Path:
    """Train the network that `config` describes.

    Args:
        val_data: evaluated on every so often; None for no evaluation, and then no `weights/best`.
        run: the run's folder (see run_folder.py). Must not hold a run, unless `resume`.
        resume: go on where the run in the folder stopped.
        command: what a person typed, for the record.
        recipe: text of the recipe, where it was made for this training: the run keeps it as recipe.yaml.
        network: one to train in place of the one that `config.model` describes; it is called as MaskRCNN is.
        callbacks: told of every step and evaluation.
        augment: changes each training image and its labels, before all that `data.augment` asks for.

    Returns:
        The folder of the best weights or, without evaluation, of the last.

    Raises:
        UserError: settings, labels or folder that cannot work, or a loss that is not finite. One line each.
        KeyboardInterrupt, SystemExit: on SIGINT or SIGTERM, after the state was saved.
    """
    repeatable = determinism(config.train.deterministic)
    with ExitStack() as held, run_folder.writing_to(run), together(run), repeatable:
        try:
            trainer = Trainer(
                config, train_data, val_data, run, resume, command, network, held, callbacks, augment
            )
            if recipe and trainer.main:
                write_text(run / "recipe.yaml", recipe)
            return trainer.train()
        except Complete as line:
            PartialState().print(printable(str(line)))
            return run_folder.saved_weights(run)


class Trainer:
    """Everything of one training. Use `train`."""

    def __init__(
        self,
        config: Config,
        train_data: Dataset,
        val_data: Dataset | None,
        run: Path,
        resume: bool,
        command: str,
        network: nn.Module | None,
        held: ExitStack,
        callbacks: Sequence[Callback],
        augment: Augment | None,
    ) -> None:
        refuse_missing(config.train.log)
        told = Several(callbacks)
        self.accelerator = make_accelerator(config.train)
        follows: list[str] = []
        if resume:
            config, follows = follow_processes(config, run, self.accelerator.num_processes)
        self.config, labels = fit_to_data(config, train_data, val_data)
        self.settings = self.config.train
        self.train_data, self.val_data, self.run = train_data, val_data, run
        self.main = self.accelerator.is_main_process
        self.callbacks = told if self.main else Several(())
        shapes = shapes_of(self.config) if self.settings.compile is True else None
        self.loader = train_loader(
            train_data,
            labels,
            self.config,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            endless=True,
            shapes=shapes,
            augment=augment,
        )
        batch_sampler: Any = self.loader.batch_sampler
        self.sampler = batch_sampler
        self.per_epoch = int(self.sampler.global_batches)
        self.total = max(1, round(self.settings.epochs * self.per_epoch))
        if self.main:
            run_folder.open_run(run, resume, held)
        self.accelerator.wait_for_everyone()
        state = state_of(run) if resume else None
        self.progress = TrainingState() if state is None else progress_of(state, run / "state.pt")
        self.notes = follows + self._compare(resume) + forget_lost_best(self.progress, run)
        if state is not None:
            evaluated = val_data is None or self.progress.evaluated_at == self.progress.iteration
            continue_from(self.progress, self.settings, self.total, self.per_epoch, run, evaluated=evaluated)
        misfits: list[str] = []
        if network is None:  # before the folder is written to: one that is refused leaves no run behind
            network, misfits, whole = make_network(self.config, resume=state is not None)
            if whole:  # a start that finds objects already is evaluated too
                self.progress.evaluated_at = -1
        if self.sampler.factors is not None:
            self.notes.append(describe_repeats(self.sampler.factors))
        self.notes += misfits + ([describe_shapes(shapes)] if shapes else [])
        self.learner = Learner(
            network, self.settings, self.accelerator, most_graphs(shapes) if shapes else None
        )
        if state is not None:
            self.learner.restore(state, run / "state.pt")
        if self.main:
            run_folder.write_description(
                run, self.config, command, self.data, resume, self.accelerator.num_processes
            )
        self.accelerator.wait_for_everyone()
        self.log = Log(run, self.config, self.total, self.per_epoch, self.progress, active=self.main)
        self.stop = StopRequest(at_once=False)
        self.asked = False  # some process was, by a signal
        self.drawn = 0 if state is None else SAMPLES
        self._pending: Step | None = None
        # of a score that the settings name nothing is chosen
        self.choose_score = config.model.test.predict_score is None
        if self.progress.predict_score is not None:
            self._keep_from(self.progress.predict_score)
        self._saved_at = self._clock = time.monotonic()

    # ---- set up

    def _compare(self, resume: bool) -> list[str]:
        """Describe the data and say what a resume changes; one process does."""
        self.data: dict[str, Any] = {}
        if not self.main:
            return []
        self.data = run_folder.describe_all(self.train_data, self.val_data, self.config.model.classes)
        return check_unchanged(self.run, self.config, self.data) if resume else []

    def _introduce(self) -> None:
        lines = introduction(self.config, self.train_data, self.val_data, self.learner, self.total, self.run)
        for line in lines + self.notes:
            self.log.note(line)
        if self.progress.iteration:
            self.log.note(f"resuming after iteration {self.progress.iteration}")

    # ---- the loop

    def train(self) -> Path:
        """Run to the end, to an early stop or to a signal."""
        self._introduce()
        try:
            several = self.accelerator.num_processes > 1
            with self.stop:
                batches = self._batches()
                while True:
                    if self.val_data is not None and evaluation_due(
                        self.settings, self.progress, self.total, self.per_epoch
                    ):
                        self._evaluate()
                    if self.progress.iteration >= self.total or self.progress.stopped_early:
                        break
                    self._step(self._next(batches))
                    # several processes leave together: they wait for the figures that tell them all
                    if self.asked or (self.stop.signal is not None and not several):
                        self._interrupt()
                    if time.monotonic() - self._saved_at > self.settings.save_every_seconds:
                        self._settle()
                        self._save()
                self._settle()
                if not self.progress.finished:
                    self._finish()
        finally:
            self.log.close()
        return run_folder.saved_weights(self.run)

    def _batches(self) -> Iterator[Share]:
        """This process's share of each step from the present iteration on, without end."""
        self.sampler.set_epoch(*divmod(self.progress.iteration, self.per_epoch))
        # a loader draws a random number when it starts, which a resumed training does more often
        with torch.random.fork_rng(devices=[]):
            source = iter(self.loader)
        while True:
            yield [next(source) for _ in range(self.settings.accumulate)]

    def _next(self, batches: Iterator[Share]) -> Share:
        """The next step's images. Where they do not come, a worker killed perhaps, the steps are saved."""
        try:
            return next(batches)
        except UserError:
            if self.progress.iteration:
                self._save_and_say()
            raise

    def _step(self, share: Share) -> None:
        """One move of the optimiser. Its figures are read during the next one, so that a GPU never waits."""
        iteration = self.progress.iteration
        rate = rate_at(self.settings, iteration, self.total)
        if self.main and self.drawn < SAMPLES:
            self._draw(lambda: draw_share(share, self.config.model, self.run / "samples", self.drawn))
            self.drawn += sum(len(batch.images) for batch, _, _ in share)
        step = self.learner.step(share, iteration + 1, rate, asked=lambda: self.stop.signal is not None)
        for line in step.notes:
            self.log.note(line)
        self.progress.iteration += 1
        before, self._pending = self._pending, step
        self._report(before)

    def _settle(self) -> None:
        """Wait for the last step and look at its figures, so that nothing bad is saved or evaluated."""
        before, self._pending = self._pending, None
        self._report(before)

    def _report(self, step: Step | None) -> None:
        """Tell a step's figures, refuse what is not finite, and note whether a process was asked to stop."""
        if step is None:
            return
        *losses, total, norm, asked = step.figures.tolist()
        named = dict(zip(step.names, losses, strict=True))
        bad = [name for name, value in named.items() if value - value != 0]
        # in half precision a gradient overflows now and then, and the scaler skips that step
        if not bad and norm - norm != 0 and self.accelerator.scaler is None:
            bad = ["gradient"]
        if bad:
            refuse_step(step.iteration, step.micro_batches, bad, self.run, main=self.main)
        self.log.step(step.iteration, {"loss": total, **named}, step.rate, norm, self.settings.batch)
        figures = {"loss": total, **named, "gradient_norm": norm, "lr": step.rate}
        self.callbacks.on_step(step.iteration, figures)
        self.asked = self.asked or asked > 0

    def _interrupt(self) -> None:
        """Save and leave, as a signal asked."""
        self._save_and_say()
        self.stop.leave()

    def _save_and_say(self) -> None:
        self._settle()
        self._save()
        again = shell_command(["--resume", "--run", str(self.run)])
        done = self.progress.iteration
        self.log.note(f"stopped after iteration {done}; the same command goes on with {again}")

    # ---- evaluate

    def _evaluate(self) -> None:
        """Score the weights (their average, if there is one) and keep them if they are the best so far."""
        val_data = self.val_data
        assert val_data is not None
        self._settle()
        self._save(weights=False)  # a kill during the evaluation then loses nothing
        progress, started = self.progress, time.monotonic()
        self.log.pause()
        with self.learner.averaged(), torch.random.fork_rng(), self.stop.at_once():
            found: list[Result] = []
            scores = evaluate_together(
                self.learner.network,
                val_data,
                self.config,
                self.accelerator,
                progress=self.log.evaluating,
                found=found,
            )
            self._draw(lambda: draw_found(self.learner.network, val_data, self.run / "samples"))
        better = judge(progress, figure_of_merit(scores, self.settings.best), self.settings.patience)
        last = progress.stopped_early or progress.iteration >= self.total
        if found and self.choose_score and (better or last):
            self._keep_from(kept_from(self.config.model, val_data, found, scores))
        if better:
            progress.best_score = progress.predict_score
        if found and last:
            progress.worst = worst_images(val_data, found, scores, self.config.model.test.detections)
        for line in () if progress.figures else scores.notes:  # the next evaluation has the same
            self.log.note(line)
        progress.figures = scores.kinds
        self.log.evaluation(progress.iteration, scores.kinds, time.monotonic() - started)
        mark = "" if not better else "  best so far" if progress.iteration else "  before the first step"
        self.log.note(f"epoch {progress.iteration / self.per_epoch:.2f}: {scores_line(scores)}{mark}")
        self._save(best=better)
        self.callbacks.on_evaluation(progress.iteration, scores.kinds)
        self.log.go_on()

    def _keep_from(self, score: float | None) -> None:
        """Prediction with the present weights keeps objects from that score on."""
        self.progress.predict_score = score
        config: Any = self.learner.network.config
        test = config.test.model_copy(update={"predict_score": score})
        self.learner.network.config = config.model_copy(update={"test": test})  # type: ignore[assignment]

    # ---- finish

    def _finish(self) -> None:
        """Curves, the report and the last weights; only then the run counts as complete."""
        self._count_time()
        if self.main:
            plots: list[str] = []
            self._draw(lambda: plots.extend(write_plots(self.run)))
            with self.learner.averaged(), torch.random.fork_rng():
                folder = self.run / "samples"
                self._draw(
                    lambda: draw_worst(self.learner.network, self.val_data, self.progress.worst, folder)
                )
            write_report(self.run, self.config, self.progress, self.data, plots)
        self.progress.finished = True
        self._save()
        if self.main:
            if self.progress.stopped_early:
                self.log.note(f"stopped early: no better for {self.progress.stale} evaluations")
            self.log.note(done_line(self.run, self.settings, self.progress))
            self.callbacks.on_end(run_folder.saved_weights(self.run), self.run / "report.html")
        self.accelerator.wait_for_everyone()

    def _save(self, weights: bool = True, best: bool = False) -> None:
        """Write the state and, averaged if so set, the last and the best weights. One process does."""
        self._saved_at = self._count_time()
        if not self.main:
            return
        if weights:
            if not (self.run / "state.pt").exists():  # weights without one are a run that has lost it
                self._save(weights=False)
            with self.learner.averaged():
                for name in ("last", "best") if best else ("last",):
                    self._save_weights(self.run / "weights" / name)
        state = {**self.learner.state_dict(), "progress": self.progress.to_dict(), "random": random_state()}
        write_state(self.run / "state.pt", state)

    def _count_time(self) -> float:
        """Add the time since the last call to what the training took; returns now."""
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = now
        return now

    def _save_weights(self, folder: Path) -> None:
        from maskrcnn.weights.store import save_model

        own = self.progress.figures if self.progress.evaluated_at == self.progress.iteration else None
        save_model(self.learner.network, folder, write_card(self.config, self.data, self.progress, own))

    def _draw(self, draw: Callable[[], None]) -> None:
        """An image that cannot be drawn is no reason to lose a training, a full disk is."""
        if not self.main:
            return
        try:
            draw()
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001
            self.drawn = SAMPLES
            self.log.note(f"not drawn: {type(error).__name__}: {error}")
