// The responses API by the official `openai` package for JavaScript; prints what it saw as one line of JSON.
//   node responses_client.mjs BASE_URL KEY SCENARIO
import OpenAI from "openai";

const [baseURL, apiKey, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const model = "hermes-agent";

const weather = {
  type: "function",
  name: "get_weather",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: false,
};

const scenarios = {
  async create() {
    const first = await client.responses.create({ model, input: "one" });
    const second = await client.responses.create({ model, input: "two", previous_response_id: first.id });
    const again = await client.responses.retrieve(second.id);
    const items = [];
    for await (const item of client.responses.inputItems.list(second.id)) items.push(item.content[0].text);
    await client.responses.delete(first.id);
    return { texts: [first.output_text, second.output_text], same: again.output_text === second.output_text, items };
  },

  async helper() {
    const stream = client.responses.stream({ model, input: "Hi" });
    let deltas = "";
    stream.on("response.output_text.delta", (event) => (deltas += event.delta));
    const final = await stream.finalResponse();
    return { deltas, text: final.output_text, kinds: final.output.map((item) => item.type) };
  },

  async mcp() {
    const headers = { "X-Hermes-Tool-Items": "mcp_call" };
    const stream = client.responses.stream({ model, input: "Hi" }, { headers });
    const final = await stream.finalResponse();
    return { text: final.output_text, kinds: final.output.map((item) => item.type) };
  },

  async approval() {
    const stream = client.responses.stream({ model, input: "Clean up" });
    const asked = [];
    for await (const event of stream) {
      if (event.hermes?.event === "approval.request") {
        asked.push(event.hermes.command);
        await client.post(`/runs/${event.hermes.run_id}/approval`, { body: { choice: "once" } });
      }
    }
    const final = await stream.finalResponse();
    return { text: final.output_text, asked };
  },

  async clientTools() {
    const first = await client.responses.create({ model, input: "Weather?", tools: [weather] });
    const call = first.output.find((item) => item.type === "function_call");
    const second = await client.responses.create({
      model,
      previous_response_id: first.id,
      input: [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }],
    });
    return { asked: JSON.parse(call.arguments).city, text: second.output_text };
  },

  async background() {
    const begun = await client.responses.create({ model, input: "Hi", background: true });
    const resumed = await client.responses.retrieve(begun.id, { stream: true, starting_after: 0 });
    const numbers = [];
    for await (const event of resumed) numbers.push(event.sequence_number);
    const done = await client.responses.retrieve(begun.id);
    return { gapless: numbers.every((number, index) => number === index + 1), text: done.output_text };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
