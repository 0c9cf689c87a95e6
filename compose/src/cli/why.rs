//! `compose why`: why a service does not run, or is not ready, with what speaks for it.

mod access;
mod evidence;

use jiff::Timestamp;

use super::context::{Context, Target};
use super::error::{CommandError, FAILED};
use super::terminal::Terminal;
use crate::model::{DependencyCondition, Project, ServiceName};
use crate::record::Container;
use evidence::Answer;

/// Say why a service does not run or is not ready
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// The service
    service: ServiceName,
    /// Lines of the end of its log to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5)]
    tail: usize,
}

/// Prints what the records, the file and the kernel say. Ends with 0 if all containers of the service are ready, else
/// with 1.
///
/// # Errors
///
/// When there is no such service, or a record cannot be read.
pub fn run(args: WhyArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    let project = context.load_if_any(terminal)?;
    let target = context.target_of(project)?;
    let containers = context.containers(target.name.as_str())?;
    target.check(std::slice::from_ref(&args.service), &containers)?;
    let own: Vec<&Container> = containers
        .iter()
        .filter(|one| one.record.service == args.service && !one.record.oneoff)
        .collect();
    let mut answers = Vec::new();
    if own.is_empty() {
        answers.push(absent(&args.service, &target, context));
    }
    for container in own {
        let mut answer = evidence::of(container, Timestamp::now());
        if !answer.ready {
            answer.lines.extend(evidence::last_words(container, context.roots(), args.tail)?);
            if !container.state.phase.is_up() {
                access::held_ports(&container.record.ports, &mut answer);
            }
            if container.state.exit.is_none_or(|exit| !exit.success()) {
                access::denied(container, context, &mut answer);
            }
        }
        answers.push(answer);
    }
    let ready = answers.iter().all(|answer| answer.ready);
    if !ready {
        answers.extend(awaited(&args.service, target.project.as_ref(), &containers));
    }
    terminal.print(answers.iter().map(Answer::to_string).collect::<String>())?;
    Ok(if ready { 0 } else { FAILED })
}

/// There is no container: what the file says about that.
fn absent(service: &ServiceName, target: &Target, context: &Context) -> Answer {
    let mut answer = Answer::new(format!("service {service} has no container"));
    let Some(project) = &target.project else {
        answer.mend = "`compose up -d` in the folder of the project".to_owned();
        return answer;
    };
    answer.mend = format!("`compose up -d {service}`");
    if let Some(off) = project.disabled.get(service) {
        let profiles = off.profiles.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        answer.lines.push(format!("it is only there with one of the profiles {profiles}"));
        if let Some(profile) = off.profiles.first() {
            answer.mend = format!("`compose --profile {profile} up -d`, or name the service");
        }
        return answer;
    }
    let Some(wanted) = project.services.get(service) else { return answer };
    if wanted.replicas == 0 {
        answer.lines.push("the file wants none: `scale: 0`".to_owned());
        answer.mend = format!("`compose scale {service}=1`");
    }
    let image = wanted.image_reference(&project.name);
    let found = images::Store::open(&context.roots().images()).map(|store| store.find(&image));
    if let Ok(Ok(None)) = found {
        answer.lines.push(format!("its image {image} is not here"));
        answer.mend = "`compose pull`, or `compose build` if the service is built".to_owned();
    }
    access::missing_files(project, wanted, &mut answer);
    access::held_ports(&wanted.ports, &mut answer);
    answer
}

/// What the service waits for and is not so.
fn awaited(
    service: &ServiceName,
    project: Option<&Project>,
    containers: &[Container],
) -> Vec<Answer> {
    let wanted = project.and_then(|project| project.services.get(service));
    let dependencies = wanted.map(|wanted| wanted.depends_on.clone()).or_else(|| {
        let known = containers.iter().find(|one| one.record.service == *service)?;
        Some(known.record.depends_on.clone())
    });
    let mut answers = Vec::new();
    for (name, dependency) in dependencies.unwrap_or_default() {
        let own: Vec<&Container> = containers
            .iter()
            .filter(|one| one.record.service == name && !one.record.oneoff)
            .collect();
        let met = |one: &&Container| match dependency.condition {
            DependencyCondition::Started => one.state.started.is_some(),
            DependencyCondition::Healthy => evidence::of(one, Timestamp::now()).ready,
            DependencyCondition::CompletedSuccessfully => {
                one.state.exit.is_some_and(|exit| exit.success())
            }
        };
        if own.is_empty() || !own.iter().all(met) {
            let mut answer = Answer::new(format!("it depends on {name}, which is not ready"));
            answer.mend = format!("`compose why {name}`");
            answers.push(answer);
        }
    }
    answers
}
