//! The command line: arguments in, calls to the library, messages out. No mathematics here.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Result;
use crate::gpu::Choice;

mod bench;
mod common;
mod demo;
mod encode;
mod eval;
mod flags;
mod info;
mod interpolate;
mod measuring;
mod models;
mod reconstruct;
mod reverse;
mod sample;
mod sampling;
mod shaders;
mod train;
mod training;
mod verify;

use common::Output;

/// Generative models, trained and sampled by hand-written WGSL compute kernels on any GPU.
#[derive(Debug, Parser)]
#[command(name = "wgen", version, about)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Global {
    /// auto, cpu, or the index or part of the name of an adapter in `wgen info`
    #[arg(long, global = true, default_value = "auto")]
    device: Choice,
    /// Machine-readable output on stdout; everything else goes to stderr
    #[arg(long, global = true)]
    json: bool,
    /// Say more; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only what failed
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Adapters, limits, features, and which one would be used and why
    Info(info::Arguments),
    /// Every kernel and model against the CPU, on this adapter
    Verify(verify::Arguments),
    /// Kernels and steps of the models against what this adapter can do at most
    Bench(bench::Arguments),
    /// Train a model
    Train(train::Arguments),
    /// Draw samples from a trained model
    Sample(sampling::SampleArguments),
    /// Inputs and what the model makes of them
    Reconstruct(reconstruct::Arguments),
    /// From one input to another through latent space
    Interpolate(interpolate::Arguments),
    /// Codes of a data set as safetensors
    Encode(encode::Arguments),
    /// The model's own figures on held-out data
    Eval(eval::Arguments),
    /// Train and sample on built-in data in about a minute
    Demo(demo::Arguments),
    /// Write every kernel, expanded, with a note on its bindings
    Shaders(shaders::Arguments),
}

/// Parses the arguments, runs the command, reports its error. Exit status: 0 done, 1 a check failed, 2 bad usage or input.
pub fn main() -> ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without a session Mesa's device-select layer complains on stderr that it finds no Wayland socket; we have no window.
        // SAFETY: nothing else runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    let cli = Cli::parse();
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (_, 0) => "wgen=info,warn,wgpu_hal=error,wgpu_core=error",
        (_, 1) => "wgen=debug,info,wgpu_hal=error,wgpu_core=error",
        _ => "wgen=trace,naga=info,debug",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(|out, record| {
            let mut text = record.args().to_string();
            if record.target().starts_with("wgen") {
                text = flags::flags(&text);
            }
            writeln!(out, "{}: {text}", record.level().as_str().to_lowercase())
        })
        .init();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "error: {}", flags::message(&error)).ok();
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let output = Output {
        json: cli.global.json,
        quiet: cli.global.quiet,
    };
    let device = &cli.global.device;
    match &cli.command {
        Command::Info(arguments) => info::run(&output, device, arguments),
        Command::Verify(arguments) => verify::run(&output, device, arguments),
        Command::Bench(arguments) => bench::run(&output, device, arguments),
        Command::Train(arguments) => train::run(&output, device, arguments),
        Command::Sample(arguments) => sample::run(&output, device, arguments),
        Command::Reconstruct(arguments) => reconstruct::run(&output, device, arguments),
        Command::Interpolate(arguments) => interpolate::run(&output, device, arguments),
        Command::Encode(arguments) => encode::run(&output, device, arguments),
        Command::Eval(arguments) => eval::run(&output, device, arguments),
        Command::Demo(arguments) => demo::run(&output, device, arguments),
        Command::Shaders(arguments) => shaders::run(&output, arguments),
    }
}
