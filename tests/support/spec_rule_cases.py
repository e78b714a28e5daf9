"""Pipelines that trigger the rules about the spec, and the smallest edits that silence them."""

from general_rule_pipelines import (
    BRANCHES,
    COMPONENT,
    CONDITION,
    CONTAINER,
    FINAL_STATUS,
    IMAGE,
    REMOVE,
    TASK,
    Case,
    constant,
    output_of,
    parameter,
    python_function,
    task,
)

LOOP = f"{TASK}.parameterIterator"

SPEC_CASES = [
    Case(
        "S101",
        [(LOOP, {"items": {"raw": " [ ] "}, "itemInput": "text"})],
        "task say loops over an empty list, so nothing in it runs",
        [(f"{LOOP}.items.raw", '["a"]')],
    ),
    Case(
        "S102",
        [(LOOP, {"items": {"raw": '{"a": 1}'}, "itemInput": "text"})],
        r'task say loops over items that are not a list: "{\"a\": 1}"',
        [(f"{LOOP}.items.raw", "[1]")],
    ),
    Case(
        "S102",
        [(LOOP, {"items": {"raw": "[1"}, "itemInput": "text"})],
        'task say loops over items that are not a list: "[1"',
        [(f"{LOOP}.items.raw", "[1]")],
    ),
    Case(
        "S103",
        [(f"{CONTAINER}.command", ["echo", "{{$.inputs.parameters['txt']}}"])],
        "component say has"
        " {{$.inputs.parameters['txt']... in its command, but has no input with this name",
        [(f"{CONTAINER}.command", ["echo", "{{$.inputs.parameters['text']}}"])],
    ),
    Case(
        "S103",
        [(f"{CONTAINER}.args", ["--to={{$.outputs.artifacts['model'].path}}"])],
        "component say has"
        " {{$.outputs.artifacts['model']... in its command, but has no output with this name",
        [
            (
                f"{COMPONENT}.outputDefinitions.artifacts",
                {"model": {"artifactType": {"schemaTitle": "system.Model"}}},
            )
        ],
    ),
    Case(
        "S105",
        [(f"{CONTAINER}.env", [{"name": "N", "value": "{{channel:task=a;name=b;type=c;}}"}])],
        "the environment variable N of component say contains the output of a task at a place where"
        " KFP does not fill it in",
        [(f"{CONTAINER}.env", [{"name": "N", "value": "3"}])],
    ),
    Case(
        "S105",
        [(LOOP, {"items": {"raw": '["{{channel:name=b;type=c;}}"]'}, "itemInput": "text"})],
        "the list of items of task say contains the output of a task at a place where KFP does not"
        " fill it in",
        [(f"{LOOP}.items.raw", '["a"]')],
    ),
    Case(
        "S110",
        [(f"{TASK}.triggerPolicy", {"condition": "inputs.parameter_values['text' == 'a'"})],
        "task say has a condition that is not a CEL expression: ",
        [(f"{TASK}.triggerPolicy.condition", CONDITION)],
    ),
    Case(
        "S111",
        [(f"{TASK}.triggerPolicy", {"condition": "inputs.parameter_values['txt'] == 'a'"})],
        "task say has a condition that uses the input 'txt', but the task has no such input",
        [(f"{TASK}.triggerPolicy.condition", CONDITION)],
    ),
    Case(
        "S112",
        [(f"{TASK}.triggerPolicy", {"condition": "1 > 2"})],
        "task say has a condition without inputs, which is always false",
        [(f"{TASK}.triggerPolicy.condition", CONDITION)],
    ),
    Case(
        "S113",
        [(f"{TASK}.triggerPolicy", {"condition": "inputs.parameter_values['text'] == true"})],
        "task say compares 'text', which is STRING, with the boolean true, so the condition is"
        " always false",
        [(f"{TASK}.triggerPolicy.condition", "inputs.parameter_values['text'] == 'true'")],
    ),
    Case(
        "S113",
        [(f"{TASK}.triggerPolicy", {"condition": "!(inputs.parameter_values['text'] > 3)"})],
        "task say compares 'text', which is STRING, with the number 3, so the condition cannot be"
        " evaluated",
        [(f"{TASK}.triggerPolicy.condition", "!(int(inputs.parameter_values['text']) > 3)")],
    ),
    Case(
        "S120",
        [(f"{TASK}.inputs.parameters.text", constant(2**53 + 2))],
        "input 'text' of task say is 9007199254740994, and KFP keeps only about 16 digits of a"
        " number",
        [(f"{TASK}.inputs.parameters.text", constant(str(2**53 + 2)))],
    ),
    Case(
        "S120",
        [("root.inputDefinitions.parameters.text", parameter("LIST", defaultValue=[2**60]))],
        "the default of the pipeline's parameter 'text' is 1152921504606846976, and KFP keeps only"
        " about 16 digits of a number",
        [("root.inputDefinitions.parameters.text.defaultValue", [10**18])],
    ),
    Case(
        "S121",
        [("root.inputDefinitions.parameters.text", parameter("NUMBER_INTEGER", defaultValue=2.5))],
        "the default of the parameter 'text' must be NUMBER_INTEGER, but is 2.5, so each run must"
        " set another value",
        [("root.inputDefinitions.parameters.text.defaultValue", 2)],
    ),
    Case(
        "S121",
        [
            (
                "root.inputDefinitions.parameters.text",
                parameter("STRING", defaultValue="c", literals=["a", "b"]),
            )
        ],
        'the default of the parameter \'text\' must be one of "a", "b", but is "c", so each'
        " run must set another value",
        [("root.inputDefinitions.parameters.text.defaultValue", "a")],
    ),
    Case(
        "S122",
        [(f"{COMPONENT}.inputDefinitions.parameters.n", parameter("BOOLEAN", defaultValue=1))],
        "the default of an input of component say is wrong: 'n' must be BOOLEAN, but is 1",
        [(f"{COMPONENT}.inputDefinitions.parameters.n.defaultValue", True)],
    ),
    Case(
        "S123",
        [
            (f"{COMPONENT}.inputDefinitions.parameters.n", parameter("NUMBER_INTEGER")),
            (f"{TASK}.inputs.parameters.n", constant("3")),
        ],
        "task say cannot start: 'n' must be NUMBER_INTEGER, but is \"3\"",
        [(f"{TASK}.inputs.parameters.n", constant(3))],
    ),
    Case(
        "S125",
        [(f"{TASK}.inputs", REMOVE), ("root.inputDefinitions", REMOVE)],
        "task say does not set the input 'text', which its component needs",
        [(f"{COMPONENT}.inputDefinitions.parameters.text.isOptional", True)],
    ),
    Case(
        "S126",
        [("root.inputDefinitions.parameters.text.isOptional", True)],
        "task say needs 'text', but the pipeline's input 'text' may have no value",
        [("root.inputDefinitions.parameters.text.defaultValue", "hello")],
    ),
    Case(
        "S127",
        [
            *python_function("def say(text: dsl.PipelineTaskFinalStatus): ..."),
            (f"{COMPONENT}.inputDefinitions.parameters.text", FINAL_STATUS),
            ("root.inputDefinitions.parameters.text", FINAL_STATUS),
        ],
        "task say needs the final status of other tasks as 'text', but gets no value",
        [
            ("root.dag.tasks.other", task("comp-other")),
            ("components.comp-other", {"executorLabel": "exec-other"}),
            ("deploymentSpec.executors.exec-other", {"container": {"image": IMAGE}}),
            (f"{TASK}.inputs.parameters.text", {"taskFinalStatus": {"producerTask": "other"}}),
            (f"{TASK}.dependentTasks", ["other"]),
            (f"{TASK}.triggerPolicy", {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        ],
    ),
    Case(
        "S127",
        [("root.inputDefinitions.parameters.text", FINAL_STATUS)],
        "task say needs the final status of other tasks as 'text', but gets no value",
        [(f"{COMPONENT}.inputDefinitions.parameters.text.isOptional", True)],
    ),
    Case(
        "S130",
        [
            (f"{TASK}.triggerPolicy", {"condition": CONDITION}),
            ("root.dag.tasks.last", task(dependentTasks=["say"])),
        ],
        "task last needs say: when a condition skips say, task last is skipped too",
        [(f"{TASK}.triggerPolicy", REMOVE)],
    ),
    Case(
        "S131",
        BRANCHES,
        "the output 'chosen' of task if comes from branches that may all be skipped",
        [
            (
                "components.comp-branches.dag.tasks.b.triggerPolicy.condition",
                "!(inputs.parameter_values['text'] == 'a')",
            )
        ],
    ),
    Case(
        "S132",
        [
            (
                "root.dag.tasks.last",
                {
                    "componentRef": {"name": "comp-say"},
                    "inputs": {"parameters": {"text": output_of("say")}},
                    "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
                },
            )
        ],
        "task last also runs when say fails, but then its input 'text' has no value",
        [(f"{COMPONENT}.inputDefinitions.parameters.text.defaultValue", "none")],
    ),
    Case(
        "S140",
        [("root.dag.tasks.last", task(taskInfo={"name": "say"}))],
        "2 tasks in the pipeline have the name 'say'",
        [("root.dag.tasks.last.taskInfo.name", "last")],
    ),
    Case(
        "S141",
        [(f"{TASK}.colour", "red")],
        "root.dag.tasks.say.colour is not a field of a PipelineSpec, so Kubeflow Pipelines"
        " refuses the file",
        [(f"{TASK}.colour", REMOVE)],
    ),
    Case(
        "S142",
        [("root.inputDefinitions.parameters.seed", parameter("STRING"))],
        "the pipeline does not use its input 'seed'",
        [("root.inputDefinitions.parameters.seed", REMOVE)],
    ),
]
