//! A specification as the JSON that `second.py` reads.

use std::collections::BTreeMap;

use buildswarm_core::Digest;
use buildswarm_core::spec::{
    BuildInputs, BuildSpec, Dependency, Distfile, Identity, Reach, Recipe, Surroundings, Tool,
};
use serde_json::{Value, json};

pub(crate) fn of(spec: &BuildSpec) -> Value {
    // Taken apart, here and below: a field added to a type has to be added here.
    let BuildSpec { policy, inputs, dependencies } = spec;
    json!({
        "policy": policy.name(),
        "inputs": inputs_of(inputs),
        "dependencies": dependencies.iter().map(dependency).collect::<Vec<_>>(),
    })
}

fn inputs_of(inputs: &BuildInputs) -> Value {
    let BuildInputs { package, slot, repository, eapi, recipe, distfiles, use_flags, surroundings } = inputs;
    let Surroundings { environment, features, toolchain, build_root } = surroundings.as_ref();
    let distfiles: BTreeMap<_, _> = distfiles
        .iter()
        .map(|(name, Distfile { size, hashes })| (name, json!({ "size": size, "hashes": hashes })))
        .collect();
    json!({
        "package": package.as_str(),
        "slot": slot.to_string(),
        "repository": repository,
        "eapi": eapi,
        "recipe": recipe_of(recipe),
        "distfiles": distfiles,
        "use": use_flags,
        "surroundings": {
            "environment": environment,
            "features": features,
            "toolchain": toolchain,
            "build_root": build_root,
        },
    })
}

fn recipe_of(recipe: &Recipe) -> Value {
    fn named(files: &[(String, Digest)]) -> Vec<Value> {
        files.iter().map(|(name, digest)| json!({ "name": name, "blake3": digest })).collect()
    }
    let Recipe { ebuild, eclasses, files, patches, hooks, qa_checks, saved_config } = recipe;
    json!({
        "ebuild": ebuild,
        "eclasses": eclasses,
        "files": files,
        "user_patches": named(patches),
        "hooks": named(hooks),
        "qa_checks": qa_checks,
        "saved_configuration": saved_config,
    })
}

fn dependency(dependency: &Dependency) -> Value {
    let Dependency { name, version, slot, sub_slot, classes, identity } = dependency;
    let mut record = json!({ "name": name, "slot": slot });
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            record[field] = value;
        }
    };
    set("version", version.as_ref().map(|text| json!(text)));
    set("sub_slot", sub_slot.as_ref().map(|text| json!(text)));
    match identity {
        Identity::Built(key) => set("key", Some(json!(key.digest()))),
        Identity::Installed(digest) => set("installed", Some(json!(digest))),
        Identity::Reach(Reach { interface, payload, tool }) => {
            set("interface", interface.map(|digest| json!(digest)));
            set("payload", payload.map(|digest| json!(digest)));
            let tool = tool.as_ref();
            set(
                "tool",
                tool.map(|Tool { use_flags, sources }| json!({ "flags": use_flags, "sources": sources })),
            );
        }
    }
    json!({ "dependency": record, "classes": classes.bits() })
}

/// The bytes that `hex` spells.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hexadecimal digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}
