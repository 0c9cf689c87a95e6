//! `models`: where services find the models that they use.
//!
//! No model is run here. `COMPOSE_MODEL_RUNNER` (in the environment, or in `.env`) is the address at which containers reach a
//! server that has the interface of OpenAI: ollama, llama.cpp, the model runner of docker. It is the endpoint of every model.
//! Without it the attribute stays as it is, for `up` to refuse.
//!
//! Source: compose reference A108-A110; docker/compose `pkg/compose/model.go`.

use serde_json::Value;

use crate::model::{MODEL_RUNNER, Project, Service};

/// Gives services the endpoints and the names of their models.
pub(super) fn settle(project: &mut Project) {
    let runner = project.environment.get(MODEL_RUNNER).filter(|address| !address.is_empty());
    let (Some(runner), Some(models)) = (runner, project.kept.get("models")) else { return };
    let services = project.services.values_mut().chain(project.disabled.values_mut());
    services.for_each(|service| fill_in(service, runner, &models.value));
}

fn fill_in(service: &mut Service, runner: &str, models: &Value) {
    let Some(used) = service.kept.remove("models") else { return };
    for (key, variables) in used.value.as_object().into_iter().flatten() {
        let prefix = key.to_uppercase().replace('-', "_");
        let variable = |attribute: &str, ending: &str| {
            let named = variables.get(attribute).and_then(Value::as_str);
            named.map_or_else(|| format!("{prefix}_{ending}"), str::to_owned)
        };
        let model = models.get(key).and_then(|model| model.get("model")).and_then(Value::as_str);
        service.environment.insert(variable("endpoint_var", "URL"), Some(runner.to_owned()));
        service.environment.insert(variable("model_var", "MODEL"), model.map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::model::Kept;

    #[test]
    fn a_service_is_told_where_its_models_are() {
        let mut project = crate::cli::testing::project(&["web"]);
        let keep = |value| Kept { value, place: None };
        project.kept.insert(
            "models".to_owned(),
            keep(json!({"my-llm": {"model": "ai/small"}, "other": {"model": "ai/large"}})),
        );
        let used =
            json!({"my-llm": null, "other": {"endpoint_var": "WHERE", "model_var": "WHICH"}});
        for service in project.services.values_mut() {
            service.kept.insert("models".to_owned(), keep(used.clone()));
        }
        settle(&mut project);
        let service = |project: &Project| project.services.values().next().unwrap().clone();
        assert!(service(&project).kept.contains_key("models"), "nobody runs them");
        let address = "http://ai.internal/v1";
        project.environment.insert(MODEL_RUNNER.to_owned(), address.to_owned());
        settle(&mut project);
        let expected = [
            ("MY_LLM_URL", address),
            ("MY_LLM_MODEL", "ai/small"),
            ("WHERE", address),
            ("WHICH", "ai/large"),
        ];
        let expected: BTreeMap<_, _> = expected
            .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
            .into_iter()
            .collect();
        assert_eq!(service(&project).environment, expected);
        assert!(!service(&project).kept.contains_key("models"));
    }
}
